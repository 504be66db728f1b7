//! What is asked of the instances of a clone, and of what runs already.

use super::{Action, unfinished};
use crate::frame::agent::{Extras, Role, Status};
use anyhow::{Result, bail};
use ocf_meta::Code;

impl<A: Extras> Action<'_, A> {
    pub(super) fn promote(&self) -> Result<Code> {
        self.agent.validate()?;
        let _lock = self.lock()?;
        unfinished::end(&self.view, &self.owner())?;
        let (found, status) = self.observe()?;
        let plan = self.agent.promote(&self.view, &found)?;
        if plan.is_empty() && status.is_promoted() {
            return Ok(Code::Success);
        }
        self.carry_out(plan)?;
        match self.observe()?.1 {
            status if status.is_promoted() => Ok(Code::Success),
            status => bail!("after promote the resource is {status}"),
        }
    }

    pub(super) fn demote(&self) -> Result<Code> {
        let _lock = self.lock()?;
        unfinished::end(&self.view, &self.owner())?;
        let (found, status) = self.observe()?;
        match status {
            Status::Stopped(_) => return Ok(Code::NotRunning),
            Status::Running(Role::Unpromoted) | Status::Degraded(Role::Unpromoted, _) => {
                return Ok(Code::Success);
            }
            _ => {}
        }
        let plan = self.agent.demote(&self.view, &found)?;
        let done = self.carry_out_all(plan);
        match self.observe()?.1 {
            Status::Running(Role::Promoted) | Status::Degraded(Role::Promoted, _) => {
                done.and_then(|()| bail!("after demote the resource is still promoted"))
            }
            Status::Stopped(_) => Ok(Code::NotRunning),
            status if status.is_active() => Ok(Code::Success),
            status => done.and_then(|()| bail!("after demote the resource is {status}")),
        }
    }

    pub(super) fn notify(&self) -> Result<()> {
        let (state, _) = self.observe()?;
        let plan = self.agent.notify(&self.view, &state)?;
        self.carry_out_all(plan)
    }

    pub(super) fn reload(&self) -> Result<Code> {
        self.agent.validate()?;
        let _lock = self.lock()?;
        let (found, status) = self.observe()?;
        if !status.is_active() {
            bail!("cannot reload: the resource is {status}");
        }
        let plan = self.agent.reload(&self.view, &found)?;
        self.carry_out(plan)?;
        Ok(Code::Success)
    }
}

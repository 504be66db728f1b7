//! Moving a running resource from node to node.
//!
//! Neither half clears up after itself where it fails: what is there may be the
//! only copy, and the cluster stops it where it does not want it.

use super::{Action, unfinished};
use crate::frame::agent::Extras;
use anyhow::{Result, bail};
use ocf_meta::Code;

impl<A: Extras> Action<'_, A> {
    /// Moves the resource away, and proves that it is not here any more.
    pub(super) fn migrate_to(&self) -> Result<Code> {
        self.agent.validate()?;
        let _lock = self.lock()?;
        unfinished::end(&self.view, &self.owner())?;
        let (found, status) = self.observe()?;
        if !status.is_active() {
            bail!("cannot be moved: the resource is {status}");
        }
        let plan = self.agent.migrate_to(&self.view, &found)?;
        self.carry_out(plan)?;
        match self.observe()?.1 {
            status if status.is_stopped() => Ok(Code::Success),
            status => bail!("after migrate_to the resource is still here: {status}"),
        }
    }

    /// Takes over what was moved here.
    pub(super) fn migrate_from(&self) -> Result<Code> {
        let _lock = self.lock()?;
        unfinished::end(&self.view, &self.owner())?;
        let (found, _) = self.observe()?;
        let plan = self.agent.migrate_from(&self.view, &found)?;
        self.carry_out(plan)?;
        match self.observe()?.1 {
            status if status.is_active() => Ok(Code::Success),
            status => bail!("after migrate_from the resource is {status}"),
        }
    }
}

//! The agents' actions on the stage.

use super::measure::{self, Case, Cost, Figures, Row, Run, Turn, Turns};
use super::stage::{Stage, Subject};
use anyhow::Result;

/// A monitor of what runs.
pub fn monitor(
    stage: &Stage,
    (subject, scale, load): (Subject, usize, usize),
    times: usize,
    shell_times: usize,
) -> Result<Row> {
    let case = case(subject, "monitor", scale, load);
    stage.set_up(subject)?;
    let ours = stage.ours(subject, "monitor");
    let noop = stage.noop(&ours);
    let ours = Turn::alone(ours);
    let shell = stage.shell(subject, "monitor").map(Turn::alone);
    let row = Turns { case, ours, noop, shell, times, shell_times }.take()?;
    stage.tear_down(subject)?;
    Ok(row)
}

/// Start and stop, over and over, ours and the shell agent's in turn.
pub fn changes(stage: &Stage, subject: Subject, times: usize) -> Result<Vec<Row>> {
    // strace, which counts, ends with the last of what it follows: a start that
    // leaves a program behind has no row. What a guest's take is the hypervisor's time.
    let actions: &[&str] = match subject {
        Subject::Aoe | Subject::Guest | Subject::Group => &[],
        _ => &["start", "stop"],
    };
    actions.iter().map(|action| change(stage, subject, action, times)).collect()
}

fn change(stage: &Stage, subject: Subject, action: &str, times: usize) -> Result<Row> {
    let case = case(subject, action, 1, 0);
    let ours = stage.ours(subject, action);
    let noop = stage.noop(&ours);
    let shell = stage.shell(subject, action);
    let (mut a, mut b, mut c) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..times {
        b.push(measure::once(&noop)?);
        for (run, costs) in [(Some(&ours), &mut a), (shell.as_ref(), &mut c)] {
            let Some(run) = run else { continue };
            prepare(stage, subject, action)?;
            costs.push(measure::once(run)?);
            stage.tear_down(subject)?;
        }
    }
    let counted = |run: &Run, costs: &[Cost]| -> Result<Figures> {
        prepare(stage, subject, action)?;
        let figures = measure::figures(costs, run);
        stage.tear_down(subject)?;
        figures
    };
    let ours = counted(&ours, &a)?;
    let noop = measure::typical(b.iter().map(|cost| cost.wall));
    Ok(Row {
        case,
        shell: shell.as_ref().map(|shell| counted(shell, &c)).transpose()?,
        to_noop: ours.median.as_secs_f64() / noop.as_secs_f64(),
        ours,
        noop,
    })
}

fn prepare(stage: &Stage, subject: Subject, action: &str) -> Result<()> {
    if action == "stop" { stage.set_up(subject) } else { Ok(()) }
}

fn case(subject: Subject, action: &str, scale: usize, load: usize) -> Case {
    let (agent, objects) = (subject.agent().to_owned(), subject.plural().to_owned());
    eprintln!("  {agent} {action}, {scale} {objects}, {load} busy loops");
    let shell = subject.shell_name().to_owned();
    Case { agent, action: action.to_owned(), scale, objects, load, shell }
}

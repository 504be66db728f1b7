//! The programs through which clusters and people see an agent.

use crate::harness::{Case, Cases, Machine, Output, Program};
use crate::sample;
use ocf_meta::Meta;

pub fn cases(cases: &mut Cases, meta: &'static Meta) {
    let name = meta.name;
    let mut add = |sentence: &str, run: fn(&Machine, &'static str), need: &'static str| {
        let case = Case::new(format!("{name}: {sentence}"), move |machine| run(machine, name));
        cases.push(case.needs(&[need]));
    };
    add("crm_resource lists it and shows its meta-data", pacemaker_shows, "crm_resource");
    add(
        "crm_resource --validate takes it and says what is wrong",
        pacemaker_validates,
        "crm_resource",
    );
    add("crm ra info shows it without a complaint", crmsh_shows, "crm");
    add("crm ra validate takes it", crmsh_validates, "crm");
    add("crm configure takes it, and refuses what is not its own", crmsh_configures, "crm");
    add("pcs resource describe --full shows it without a warning", pcs_shows, "pcs");
    add("pcs resource create takes it, and refuses what is not its own", pcs_creates, "pcs");
}

/// What is the same for all agents, and takes a second each time.
pub fn lists(cases: &mut Cases) {
    cases.push(Case::new("crm ra list shows every agent", crmsh_lists).needs(&["crm"]));
    cases.push(Case::new("pcs resource list shows every agent", pcs_lists).needs(&["pcs"]));
}

/// A configuration without a cluster.
const CIB: &str = r#"<cib crm_feature_set="3.0.14" validate-with="pacemaker-3.8" epoch="1"
 num_updates="0" admin_epoch="0" have-quorum="1"><configuration><crm_config>
<cluster_property_set id="o"><nvpair id="f" name="stonith-enabled" value="false"/>
</cluster_property_set></crm_config><nodes/><resources/><constraints/></configuration>
<status/></cib>
"#;

fn client(machine: &Machine, program: &str, words: &[&str]) -> Output {
    machine.must("mkdir", &["-p", "/var/log/crmsh", "/root"]);
    let client = Program::new(program).args(words).env("HOME", "/root").env("TERM", "dumb");
    client.env("CIB_file", "/tmp/cib.xml").env("NO_COLOR", "1").run()
}

#[track_caller]
fn succeeds(output: &Output) {
    assert_eq!(output.code, Some(0), "{output}");
    for complaint in ["warning", "error", "unable", "cannot", "traceback"] {
        let said = output.stderr.to_lowercase();
        assert!(!said.contains(complaint), "{complaint}: {output}");
    }
}

fn full(name: &str) -> String {
    format!("ocf:sturdy:{name}")
}

fn pacemaker_shows(machine: &Machine, name: &'static str) {
    let providers = client(machine, "crm_resource", &["--list-ocf-providers"]);
    assert!(providers.stdout.lines().any(|line| line == "sturdy"), "{providers}");
    let agents = client(machine, "crm_resource", &["--list-agents", "ocf:sturdy"]);
    assert!(agents.stdout.lines().any(|line| line == name), "{agents}");
    let count = agents.stdout.lines().filter(|line| !line.trim().is_empty()).count();
    assert_eq!(count, agents::ALL.len(), "only agents lie there: {agents}");
    let shown = client(machine, "crm_resource", &["--show-metadata", &full(name)]);
    succeeds(&shown);
    let own = machine.agent(name).action("meta-data");
    assert_eq!(shown.stdout.trim(), own.stdout.trim());
}

fn pacemaker_validates(machine: &Machine, name: &'static str) {
    let sample = sample::prepare(machine, name);
    let agent = ["--validate", "--class", "ocf", "--provider", "sturdy", "--agent", name];
    let options = sample.options();
    let words: Vec<_> = options.iter().flat_map(|option| ["--option", option]).collect();
    let output = client(machine, "crm_resource", &[&agent[..], &words].concat());
    succeeds(&output);
    assert!(output.stdout.contains("returned 0 (ok)"), "{output}");
    let nothing = client(machine, "crm_resource", &agent);
    if machine.agent(name).action("validate-all").code != Some(0) {
        assert_eq!(nothing.code, Some(6), "{nothing}");
        assert!(nothing.to_string().contains("required"), "{nothing}");
    }
}

fn crmsh_shows(machine: &Machine, name: &'static str) {
    let shown = client(machine, "crm", &["ra", "info", &full(name)]);
    succeeds(&shown);
    assert!(shown.stderr.is_empty(), "{shown}");
    let meta = agents::ALL.iter().find(|meta| meta.name == name).unwrap();
    assert!(shown.stdout.contains(meta.shortdesc), "{shown}");
    for param in meta.params {
        assert!(shown.stdout.contains(param.name), "{}: {shown}", param.name);
    }
}

fn crmsh_lists(machine: &Machine) {
    let list = client(machine, "crm", &["ra", "list", "ocf", "sturdy"]);
    for meta in agents::ALL {
        assert!(list.stdout.split_whitespace().any(|word| word == meta.name), "{list}");
    }
}

fn crmsh_validates(machine: &Machine, name: &'static str) {
    let sample = sample::prepare(machine, name);
    let options = sample.options();
    let words: Vec<_> = ["ra", "validate"].into_iter().collect();
    let full = full(name);
    let words = [words, vec![&full], options.iter().map(String::as_str).collect()].concat();
    let output = client(machine, "crm", &words);
    succeeds(&output);
    assert!(output.stdout.trim().is_empty(), "{output}");
}

/// `primitive` with one monitor, as a manual would show it.
fn primitive<'a>(name: &'a str, options: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
    let params = options.iter().map(String::as_str).chain(more.iter().copied()).collect();
    let monitor = vec!["op", "monitor", "interval=20s", "timeout=60s"];
    [vec!["configure", "primitive", "p", name, "params"], params, monitor].concat()
}

fn crmsh_configures(machine: &Machine, name: &'static str) {
    let options = sample::prepare(machine, name).options();
    let full = full(name);
    machine.file("/tmp/cib.xml", CIB);
    succeeds(&client(machine, "crm", &primitive(&full, &options, &[])));
    is_configured("/tmp/cib.xml", name);
    machine.file("/tmp/cib.xml", CIB);
    let refused = client(machine, "crm", &primitive(&full, &options, &["no_such_thing=1"]));
    assert!(refused.code != Some(0) && refused.to_string().contains("no_such_thing"), "{refused}");
}

/// A resource of the agent's, and nothing else that is called so.
fn is_configured(file: &str, name: &str) {
    let text = std::fs::read_to_string(file).unwrap();
    let primitive = text.lines().find(|line| line.contains("<primitive ")).unwrap_or(&text);
    for part in ["provider=\"sturdy\"", &format!("type=\"{name}\"")] {
        assert!(primitive.contains(part), "{primitive} lacks {part}");
    }
}

fn pcs_shows(machine: &Machine, name: &'static str) {
    let shown = client(machine, "pcs", &["resource", "describe", "--full", &full(name)]);
    succeeds(&shown);
    assert!(shown.stderr.is_empty(), "{shown}");
    let meta = agents::ALL.iter().find(|meta| meta.name == name).unwrap();
    for param in meta.all_params() {
        assert!(shown.stdout.contains(param.name), "{}: {shown}", param.name);
    }
}

fn pcs_lists(machine: &Machine) {
    let list = client(machine, "pcs", &["resource", "list", "ocf:sturdy"]);
    succeeds(&list);
    for meta in agents::ALL {
        assert!(list.stdout.split_whitespace().any(|word| word == full(meta.name)), "{list}");
    }
}

fn pcs_creates(machine: &Machine, name: &'static str) {
    let options = sample::prepare(machine, name).options();
    let full = full(name);
    let create = |more: &[&str]| {
        machine.file("/tmp/pcs.xml", CIB);
        let words = vec!["-f", "/tmp/pcs.xml", "resource", "create", "p", &full];
        let given: Vec<_> =
            options.iter().map(String::as_str).chain(more.iter().copied()).collect();
        client(machine, "pcs", &[words, given].concat())
    };
    let created = create(&["--agent-validation"]);
    succeeds(&created);
    assert!(created.stderr.is_empty(), "{created}");
    is_configured("/tmp/pcs.xml", name);
    succeeds(&create(&["trace_ra=1"]));
    let refused = create(&["no_such_thing=1"]);
    assert!(refused.code != Some(0) && refused.to_string().contains("no_such_thing"), "{refused}");
}

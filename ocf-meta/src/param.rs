//! Parameters: one table for each agent, and its reader.

use crate::text::paragraphs;
use crate::value::Kind;
use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fmt;

/// The longest value taken, in bytes: what the kernel takes as a path.
const LONGEST: usize = 4095;

/// One parameter, as declared.
#[derive(Debug)]
pub struct Param {
    /// The name the cluster uses.
    pub name: &'static str,
    /// The type the meta-data shows.
    pub kind: Kind,
    /// The one spelling of what a value stands for.
    pub canonical: fn(&str) -> String,
    /// What an unset or empty parameter means.
    pub default: Option<&'static str>,
    /// Whether a start has to be given it.
    pub required: bool,
    /// Whether two resources must not share a value.
    pub unique: bool,
    /// Whether it is a part of what names the resource: where it is missing or
    /// wrong, nothing can have been started, and a stop would hit another one.
    pub names: bool,
    /// Whether a change is taken without a restart.
    pub reloadable: bool,
    /// The place among the words of a haresources entry, from 1.
    pub position: Option<u8>,
    /// An older name that is still taken.
    pub alias: Option<&'static str>,
    /// The doc comment: the first paragraph is the short description.
    pub doc: &'static [&'static str],
}

/// The name of a field that would be a word of Rust's: `r#type`.
const fn unescaped(name: &'static str) -> &'static str {
    let [b'r', b'#', rest @ ..] = name.as_bytes() else { return name };
    match std::str::from_utf8(rest) {
        Ok(name) => name,
        Err(_) => name,
    }
}

impl Param {
    /// A plain optional string of this name.
    pub const fn new(name: &'static str, doc: &'static [&'static str]) -> Self {
        Self {
            name: unescaped(name),
            kind: Kind::String,
            canonical: <String as crate::Value>::canonical,
            default: None,
            required: false,
            unique: false,
            names: false,
            reloadable: false,
            position: None,
            alias: None,
            doc,
        }
    }

    /// Whether this is the parameter's name or its older name.
    pub fn answers_to(&self, name: &str) -> bool {
        self.name == name || self.alias == Some(name)
    }

    /// The first paragraph, without its full stop.
    pub fn shortdesc(&self) -> String {
        let first = paragraphs(self.doc).into_iter().next().unwrap_or_default();
        first.trim_end_matches('.').to_owned()
    }

    /// All paragraphs.
    pub fn longdesc(&self) -> Vec<String> {
        paragraphs(self.doc)
    }
}

/// A parameter's text cannot be what it should be, on any node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The parameter.
    pub param: &'static str,
    /// The rest of the sentence: "is required", "is not an address: `x`".
    pub reason: String,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "parameter {} {}", self.param, self.reason)
    }
}

impl std::error::Error for Invalid {}

/// The parameters somebody gave, by name, in no order.
#[derive(Clone, Debug, Default)]
pub struct Given(Vec<(Cow<'static, str>, OsString)>);

impl Given {
    /// Adds a value; a later one of the same name wins.
    pub fn set(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<OsString>) {
        self.0.push((name.into(), value.into()));
    }

    /// The value of the parameter or of its older name; an empty one is none.
    pub fn value(&self, param: &Param) -> Option<&OsStr> {
        let named = |wanted: &str| {
            self.0.iter().rev().find(|(name, _)| name == wanted).map(|(_, value)| value.as_os_str())
        };
        named(param.name)
            .filter(|value| !value.is_empty())
            .or_else(|| param.alias.and_then(named))
            .filter(|value| !value.is_empty())
    }

    /// The names that were given.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_ref())
    }
}

/// How strictly values are read.
///
/// A stop or a probe reads leniently: a value that only start needs, missing or
/// wrong, must not keep the resource from being found and brought down.
#[derive(Debug)]
pub struct Reading<'a> {
    given: &'a Given,
    lenient: bool,
    /// What a lenient reading passed over, and took for unset.
    pub passed_over: Vec<Invalid>,
}

impl<'a> Reading<'a> {
    /// Every value has to be right.
    pub fn strict(given: &'a Given) -> Self {
        Self { given, lenient: false, passed_over: Vec::new() }
    }

    /// A wrong value counts as unset, and what is required and missing too,
    /// unless it names the resource.
    pub fn lenient(given: &'a Given) -> Self {
        Self { given, lenient: true, passed_over: Vec::new() }
    }

    /// The field's value by its declaration.
    pub fn field<F: Field>(&mut self, param: &'static Param) -> Result<F, Invalid> {
        let text = match self.given.value(param).map(|raw| text_of(param, raw)) {
            None if param.required => {
                let reason = "is required and not set".into();
                return self.fall_back(param, Invalid { param: param.name, reason });
            }
            None => None,
            Some(Ok(text)) => Some(text),
            Some(Err(invalid)) => return self.fall_back(param, invalid),
        };
        match F::read(param, text.or(param.default)) {
            Err(invalid) if text.is_some() => self.fall_back(param, invalid),
            read => read,
        }
    }

    fn fall_back<F: Field>(&mut self, param: &'static Param, why: Invalid) -> Result<F, Invalid> {
        if !self.lenient || param.names {
            return Err(why);
        }
        self.passed_over.push(why);
        F::read(param, param.default)
    }
}

/// The raw value as text that may appear in a log line.
fn text_of<'a>(param: &'static Param, raw: &'a OsStr) -> Result<&'a str, Invalid> {
    let invalid = |reason: String| Invalid { param: param.name, reason };
    if raw.len() > LONGEST {
        let length = raw.len();
        return Err(invalid(format!("is {length} bytes long, at most {LONGEST} are taken")));
    }
    let text = raw.to_str().ok_or_else(|| invalid("is not UTF-8".into()))?;
    if text.chars().any(char::is_control) {
        return Err(invalid("contains a line break or another control character".into()));
    }
    Ok(text)
}

/// A struct field that a parameter fills.
pub trait Field: Sized {
    /// The type of the value inside.
    const KIND: Kind;
    /// Whether it may be left without a value.
    const OPTIONAL: bool = false;

    /// Reads the text or the default.
    fn read(param: &'static Param, text: Option<&str>) -> Result<Self, Invalid>;

    /// The one spelling of what the text stands for.
    fn canonical(text: &str) -> String;
}

impl<V: crate::Value> Field for V {
    const KIND: Kind = V::KIND;

    fn read(param: &'static Param, text: Option<&str>) -> Result<Self, Invalid> {
        let invalid = |reason| Invalid { param: param.name, reason };
        let text = text.ok_or_else(|| invalid("is not set and has no default".into()))?;
        V::parse(text).map_err(|what| {
            let shown: String = text.chars().take(60).collect();
            let more = if shown.len() < text.len() { "..." } else { "" };
            invalid(format!("is {what}: `{shown}{more}`"))
        })
    }

    fn canonical(text: &str) -> String {
        V::canonical(text)
    }
}

impl<V: crate::Value> Field for Option<V> {
    const KIND: Kind = V::KIND;
    const OPTIONAL: bool = true;

    fn read(param: &'static Param, text: Option<&str>) -> Result<Self, Invalid> {
        text.map(|text| V::read(param, Some(text))).transpose()
    }

    fn canonical(text: &str) -> String {
        V::canonical(text)
    }
}

/// A parameter struct made by [`params!`](crate::params).
pub trait Params: Sized {
    /// The declarations, in order.
    const TABLE: &'static [Param];

    /// Reads every field.
    fn read(reading: &mut Reading<'_>) -> Result<Self, Invalid>;
}

/// Declares an agent's parameters once.
///
/// ```
/// ocf_meta::params! {
///     /// What the agent is given.
///     pub struct Example {
///         /// Block device to mount.
///         [required, position = 1] device: Option<std::path::PathBuf>,
///         /// Mount point.
///         [required, names, position = 2] directory: std::path::PathBuf,
///         /// How often to try.
///         [] tries: u32 = "6",
///         /// Extra words.
///         [] options: Option<String>,
///     }
/// }
/// ```
///
/// In the brackets:
///
/// - `required`: a start has to be given it. A stop or a monitor that is not goes
///   on without, so the field is an `Option`, unless the parameter `names` the
///   resource as well.
/// - `names`: a part of what names the resource. Where it is missing or wrong,
///   nothing can have been started: a stop warns and succeeds. Everything else
///   that is wrong is taken as unset by a stop; a parameter belongs here when
///   its default, or its absence, would mean another resource, or more of them.
/// - `unique`: no two resources may have the same value.
/// - `reloadable`: a change of it takes no restart.
/// - `position = N`, `alias = "older_name"`.
///
/// A field without a default that is not both `required` and `names` is an
/// `Option`. The doc comment's first paragraph is the short description; a text
/// that several agents share is given by `doc = TEXT` in its place.
///
/// A table that contradicts itself does not compile. A word in brackets that is
/// none of these:
///
/// ```compile_fail
/// ocf_meta::params! { pub struct P { /// Disk.
///     [requierd] device: String } }
/// ```
///
/// What is neither required nor has a default, and is no `Option`:
///
/// ```compile_fail
/// ocf_meta::params! { pub struct P { /// Disk.
///     [position = 1] device: String } }
/// ```
///
/// What is required and has a default; what a stop has to do without and is no
/// `Option`; what names the resource in each case and may be missing:
///
/// ```compile_fail
/// ocf_meta::params! { pub struct P { /// Tries.
///     [required] tries: u32 = "6" } }
/// ```
///
/// ```compile_fail
/// ocf_meta::params! { pub struct P { /// Tries.
///     [required] tries: u32 } }
/// ```
///
/// ```compile_fail
/// ocf_meta::params! { pub struct P { /// Disk.
///     [required, names] device: Option<String> } }
/// ```
///
/// What names the resource and can change while it runs:
///
/// ```compile_fail
/// ocf_meta::params! { pub struct P { /// Disk.
///     [required, names, reloadable] device: String } }
/// ```
///
/// Two words in one place, a place that is left out, and a word that has to be
/// given after one that may be missing:
///
/// ```compile_fail
/// ocf_meta::params! { pub struct P { /// Disk.
///     [required, names, position = 1] device: String, /// Type.
///     [position = 1] fstype: Option<String> } }
/// ```
///
/// ```compile_fail
/// ocf_meta::params! { pub struct P { /// Disk.
///     [required, names, position = 1] device: String, /// Type.
///     [position = 3] fstype: Option<String> } }
/// ```
///
/// ```compile_fail
/// ocf_meta::params! { pub struct P { /// Type.
///     [position = 1] fstype: Option<String>, /// Disk.
///     [required, names, position = 2] device: String } }
/// ```
#[macro_export]
macro_rules! params {
    ($(#[$outer:meta])* $vis:vis struct $name:ident { $(
        $(#[doc = $doc:literal])*
        [$($flag:ident $(= $value:expr)?),* $(,)?] $field:ident: $type:ty $(= $default:literal)?
    ),* $(,)? }) => {
        $(#[$outer])*
        #[derive(Clone, Debug)]
        $vis struct $name { $($(#[doc = $doc])* #[allow(missing_docs)] pub $field: $type,)* }

        const _: () = $crate::param::check(
            <$name as $crate::Params>::TABLE,
            &[$(<$type as $crate::param::Field>::OPTIONAL),*],
        );

        impl $crate::Params for $name {
            const TABLE: &'static [$crate::Param] = &[$(
                #[allow(clippy::needless_update)]
                $crate::Param {
                    kind: <$type as $crate::param::Field>::KIND,
                    canonical: <$type as $crate::param::Field>::canonical,
                    $(default: Some($default),)?
                    $($flag: $crate::params!(@ $flag $($value)?),)*
                    ..$crate::Param::new(stringify!($field), &[$($doc),*])
                },
            )*];

            fn read(
                reading: &mut $crate::Reading<'_>,
            ) -> ::std::result::Result<Self, $crate::Invalid> {
                let mut table = <Self as $crate::Params>::TABLE.iter();
                $(let $field = reading.field(table.next().expect("one entry for each field"))?;)*
                ::std::result::Result::Ok(Self { $($field),* })
            }
        }
    };
    (@ required) => { true };
    (@ unique) => { true };
    (@ names) => { true };
    (@ reloadable) => { true };
    (@ position $value:expr) => { Some($value) };
    (@ alias $value:expr) => { Some($value) };
    (@ doc $value:expr) => { $value };
    (@ $unknown:ident $($value:expr)?) => {
        ::std::compile_error!(::std::concat!(
            "there is no `", ::std::stringify!($unknown), "` for a parameter: it is `required`, ",
            "`unique`, `names`, `reloadable`, `position = N`, `alias = \"older_name\"` or `doc = TEXT`",
        ))
    };
}

/// Whether a table can be meant; a constant of each table's, so that one that
/// cannot does not compile.
///
/// # Panics
/// With what is wrong with it.
pub const fn check(table: &[Param], optional: &[bool]) {
    let mut words = 0;
    let mut at = 0;
    while at < table.len() {
        let param = &table[at];
        assert!(
            !(param.required && param.default.is_some()),
            "a parameter that is `required` has no default"
        );
        if param.required && param.names {
            assert!(
                !optional[at],
                "a parameter that is `required` and `names` the resource is no Option"
            );
        } else {
            assert!(
                optional[at] || param.default.is_some(),
                "a parameter has a default or is an Option, unless it is `required` and `names` the \
                 resource: a stop goes on without what only a start requires"
            );
        }
        assert!(
            !(param.names && param.reloadable),
            "a parameter that `names` the resource is not `reloadable`"
        );
        words += param.position.is_some() as u8;
        at += 1;
    }
    let (mut place, mut may_be_missing) = (1, false);
    while place <= words {
        let param = at_position(table, place);
        assert!(
            !(param.required && may_be_missing),
            "a word that is `required` comes after one that may be missing"
        );
        may_be_missing |= !param.required;
        place += 1;
    }
}

const fn at_position(table: &[Param], place: u8) -> &Param {
    let (mut at, mut found) = (0, None);
    while at < table.len() {
        if let Some(position) = table[at].position
            && position == place
        {
            assert!(found.is_none(), "two parameters have the same `position`");
            found = Some(at);
        }
        at += 1;
    }
    match found {
        Some(at) => &table[at],
        None => panic!("`position` counts from 1 and leaves none out"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    const SHARED: &[&str] = &[" Of several tables.", "", " One text."];

    crate::params! {
        /// A table with one of each.
        pub(crate) struct Sample {
            /// Needed.
            ///
            /// In every case.
            [required, names, unique, position = 1] device: String,
            /// How often.
            [alias = "retries"] tries: u32 = "6",
            /// Perhaps.
            [] options: Option<String>,
            /// Which one.
            [names] port: u16 = "80",
            /// By a start.
            [required] owner: Option<u32>,
            [doc = SHARED] shared: Option<String>,
            /// A word of Rust's.
            [] r#type: Option<String>,
        }
    }

    fn given(pairs: &[(&'static str, &str)]) -> Given {
        let mut given = Given::default();
        for (name, value) in pairs {
            given.set(*name, *value);
        }
        given
    }

    #[test]
    fn empty_means_unset_and_unset_means_the_default() {
        let given = given(&[("device", "x"), ("owner", "1"), ("tries", ""), ("options", "")]);
        let sample = Sample::read(&mut Reading::strict(&given)).unwrap();
        assert_eq!((sample.device.as_str(), sample.options), ("x", None));
        assert_eq!((sample.tries, sample.port, sample.shared), (6, 80, None));
    }

    #[test]
    fn the_older_name_is_taken_where_the_name_is_unset() {
        let both = given(&[("device", "x"), ("tries", "2"), ("retries", "3")]);
        assert_eq!(Sample::read(&mut Reading::lenient(&both)).unwrap().tries, 2);
        let older = given(&[("device", "x"), ("retries", "3")]);
        assert_eq!(Sample::read(&mut Reading::lenient(&older)).unwrap().tries, 3);
    }

    #[test]
    fn a_lenient_reading_passes_over_what_only_start_needs() {
        let given = given(&[("device", "x"), ("owner", "1"), ("tries", "many")]);
        let mut reading = Reading::lenient(&given);
        assert_eq!(Sample::read(&mut reading).unwrap().tries, 6);
        assert_eq!(reading.passed_over[0].param, "tries");
        assert!(Sample::read(&mut Reading::strict(&given)).is_err());
    }

    #[test]
    fn a_lenient_reading_goes_on_without_what_only_start_requires() {
        for owner in ["", "nobody"] {
            let given = given(&[("device", "x"), ("owner", owner)]);
            let refused = Sample::read(&mut Reading::strict(&given)).unwrap_err();
            assert_eq!(refused.param, "owner");
            let mut reading = Reading::lenient(&given);
            assert_eq!(Sample::read(&mut reading).unwrap().owner, None);
            assert_eq!(reading.passed_over, [refused]);
        }
    }

    #[test]
    fn what_names_the_resource_is_never_passed_over() {
        let wrong = given(&[("device", "x"), ("port", "many")]);
        assert!(Sample::read(&mut Reading::lenient(&wrong)).is_err());
        let nothing = given(&[]);
        let missing = Sample::read(&mut Reading::lenient(&nothing)).unwrap_err();
        assert_eq!(missing.to_string(), "parameter device is required and not set");
    }

    #[test]
    fn hostile_values_are_refused_in_one_line() {
        for bad in [&b"a\nb"[..], b"\xff", &[b'x'; 5000], b"\x1b[31m"] {
            let mut given = Given::default();
            given.set("device", OsStr::from_bytes(bad));
            let refused = Sample::read(&mut Reading::strict(&given)).unwrap_err().to_string();
            assert!(!refused.contains(char::is_control) && refused.len() < 200, "{refused}");
        }
    }

    #[test]
    fn the_table_carries_the_declaration() {
        let device = &Sample::TABLE[0];
        assert!(device.required && device.unique && device.position == Some(1));
        assert_eq!(device.shortdesc(), "Needed");
        assert_eq!(device.longdesc(), ["Needed.", "In every case."]);
    }

    #[test]
    fn a_word_of_rusts_is_a_name_like_another() {
        let given = given(&[("device", "x"), ("owner", "1"), ("type", "tcp")]);
        let sample = Sample::read(&mut Reading::strict(&given)).unwrap();
        assert_eq!(sample.r#type.as_deref(), Some("tcp"));
    }

    #[test]
    fn a_shared_text_stands_in_the_place_of_a_comment() {
        let shared = Sample::TABLE.iter().find(|param| param.name == "shared").unwrap();
        assert_eq!(shared.longdesc(), ["Of several tables.", "One text."]);
    }
}

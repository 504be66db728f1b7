//! Names that can go to lvm as words without being taken for anything else.

use common::View;
use common::host::block::{self, Number};
use common::host::lvm;
use ocf_meta::{Kind, Value};

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident: $check:path, $what:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name(String);

        impl $name {
            /// The name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Value for $name {
            const KIND: Kind = Kind::String;

            fn parse(text: &str) -> Result<Self, String> {
                if $check(text) { Ok(Self(text.to_owned())) } else { Err($what.to_owned()) }
            }
        }
    )*};
}

names! {
    /// The name of a volume group.
    GroupName: lvm::is_name, "not the name of a volume group";
    /// The name of a logical volume.
    VolumeName: lvm::is_name, "not the name of a logical volume";
    /// A tag.
    TagName: lvm::is_tag, "not a tag that LVM takes";
}

/// A few of many.
pub(crate) fn some(names: &[String]) -> String {
    const FEW: usize = 5;
    match names.len() {
        0..=FEW => names.join(", "),
        many => format!("{} and {} more", names[..FEW].join(", "), many - FEW),
    }
}

/// The disk's name for people: `/dev/drbd0`, or its number.
pub(crate) fn disk_name(view: &View, disk: Number) -> String {
    block::name(view, disk).map_or_else(|| disk.to_string(), |name| format!("/dev/{name}"))
}

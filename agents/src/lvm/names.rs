//! Names that can go to lvm as words without being taken for anything else.

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

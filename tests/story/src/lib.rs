//! What a failover leaves behind, for whoever plays one: the [`ledger`] of
//! records that a client was promised, and the [`timeline`] that shows what
//! happened meanwhile.

pub mod ledger;
pub mod timeline;

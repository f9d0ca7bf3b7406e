//! First packets: what the pods that a step creates ask from their first instruction on, who asks them from when their
//! addresses are known, who watches the servers meanwhile, and what it proves. A policy that stands already must hold for a
//! new pod from the start.

mod approach;
mod ask;
mod record;
mod staged;

pub(super) use approach::*;
pub(super) use ask::*;
pub(super) use record::*;

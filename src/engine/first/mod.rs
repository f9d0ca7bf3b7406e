//! First packets: what the pods that a step creates ask from their first instruction on, who watches the servers
//! meanwhile, and what it proves. A policy that stands already must hold for a new pod from the start.

mod ask;
mod record;
mod staged;

pub(super) use ask::*;
pub(super) use record::*;

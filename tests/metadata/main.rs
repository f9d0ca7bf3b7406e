//! The metadata servers as their clients see them: by raw socket, by `curl`, by the clouds' own libraries.
#![expect(clippy::unwrap_used, reason = "tests")]

mod clients;
mod common;
mod documentation;
mod edges;
mod known;
mod load;

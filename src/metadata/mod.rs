//! The emulated cloud metadata servers, one file a cloud, and the addresses that real ones have.

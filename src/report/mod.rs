//! One file a reporter, all fed by the same events; and the report files that are written at the end.

mod compare;
mod detail;
mod document;
mod file;
mod json;
mod junit;
mod matrix;
mod mutants;
mod narrative;
mod progress;
mod reporter;
mod summary;
mod terminal;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod theme;
mod timeline;
mod topology;
mod words;

pub use compare::{Report, compare};
pub use file::*;
pub use json::write as json;
pub use junit::render as junit;
pub use mutants::mutants;
pub use narrative::*;
pub use progress::*;
pub use reporter::*;
pub use terminal::Terminal;
pub use theme::Theme;
pub use timeline::*;

//! Whole runs against a scripted lab.

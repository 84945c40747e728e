//! `kuth ci`: its files as golden texts, judged by the linters and schemas of each service, with
//! names and values that try to be more than that; and one of them run for real. What is not
//! installed is skipped aloud.

mod files;
mod gitlab;
mod hostile;
mod judges;
mod own;

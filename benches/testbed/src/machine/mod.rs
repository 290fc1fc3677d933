//! What the operating system gives: directories, ports, processes, users, programs.

pub(crate) mod directory;
pub(crate) mod guardian;
pub(crate) mod instance;
pub(crate) mod port;
pub(crate) mod process;
pub(crate) mod program;
pub(crate) mod server;
pub(crate) mod template;
pub(crate) mod user;

//! How many files, and so connections, the process may have open.

/// Raises the limit of open files as far as the system allows and says what it is now. The usual soft limit of 1,024
/// is below one rush of buyers; it is that low only for programs that use `select`.
///
/// # Errors
/// When the system refuses; the old limit still holds then.
#[cfg(unix)]
pub fn as_many_as_allowed() -> std::io::Result<Option<u64>> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit {
            current: limit.maximum,
            ..limit
        };
        setrlimit(Resource::Nofile, raised)?;
    }
    Ok(limit.maximum)
}

/// There is no such limit here.
///
/// # Errors
/// Never.
#[cfg(not(unix))]
pub fn as_many_as_allowed() -> std::io::Result<Option<u64>> {
    Ok(None)
}

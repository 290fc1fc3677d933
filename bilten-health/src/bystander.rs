//! A thread that looks after timers and sockets while another one is blocked.

/// To be called right after other people's code was spawned, which may block its thread.
///
/// tokio keeps the task that was spawned last for the thread that spawned it, and wakes no other for it. Where it blocks
/// while all the others sleep, nobody is left to see that its time is over, or that a request came in. One more task
/// pushes it to where the others look, and wakes one of them.
pub(crate) fn wake_another_thread() {
    tokio::spawn(std::future::ready(()));
}

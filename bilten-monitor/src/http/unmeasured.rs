/// In a response's extensions: the layer leaves no trace of this request.
///
/// For answers that last as long as somebody looks: server-sent events, long polls, a socket. They are neither slow
/// nor in flight. The [live page](crate::Monitor) uses it for itself. Until the head of the response is there, the
/// request counts as in flight like any other.
///
/// ```
/// use bilten_monitor::Monitor;
/// use bilten_monitor::http::Unmeasured;
/// use http::{Request, Response};
/// use tower::{Layer, ServiceExt, service_fn};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let monitor = Monitor::builder().build()?;
/// let service = monitor.http().layer(service_fn(|_: Request<()>| async {
///     let mut response = Response::new(http_body_util::Empty::<bytes::Bytes>::new());
///     response.extensions_mut().insert(Unmeasured);
///     Ok::<_, std::io::Error>(response)
/// }));
/// let response = service.oneshot(Request::new(())).await;
/// assert!(response.is_ok() && monitor.snapshot().requests.is_empty());
/// # Ok::<(), bilten_monitor::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[expect(
    clippy::exhaustive_structs,
    reason = "it has no fields and is written as a value"
)]
pub struct Unmeasured;

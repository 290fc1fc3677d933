use std::ops::Deref;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use tower_layer::Layer;

use super::service::SessionService;
use super::vehicle::{Cookie, Vehicle};
use crate::seal::SealKey;
use crate::{Cluster, Error, Session};

/// Gives each request a [`Session`], and carries the promise of its writes to the user's next request.
///
/// The handler finds a [`RequestSession`] in the request's extensions (with the feature `axum`, as an argument). When it
/// has written something by the time its response begins, the response carries a sealed token, in a cookie or a header;
/// a request that brings the token sees those writes. A token that was forged, is too old, or comes from another system
/// sends its reads to the primary, as many at once as the [`Fallback`](crate::Fallback) allows.
///
/// What a handler writes while its response is already on the way is not carried.
///
/// ```
/// use bilten_db::Cluster;
/// use bilten_db::http::{RequestSession, SessionLayer};
/// use bilten_db::seal::SealKey;
/// use bilten_db::sea_orm::ConnectionTrait;
/// use http::{Request, Response};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let db = Cluster::builder().primary("sqlite::memory:").connect().await?;
/// let key = SealKey::new("32 random bytes from your secrets")?;
/// let service = ServiceBuilder::new()
///     .layer(SessionLayer::new(&db, key))
///     .service(service_fn(async |request: Request<()>| {
///         let session = request.extensions().get::<RequestSession>().unwrap();
///         session.execute_unprepared("CREATE TABLE event (id integer)").await?;
///         Ok::<_, bilten_db::sea_orm::DbErr>(Response::new(()))
///     }));
/// let response = service.oneshot(Request::new(())).await?;
/// let cookie = response.headers()["set-cookie"].to_str()?;
/// assert!(cookie.starts_with("bilten-seen="));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct SessionLayer {
    pub(super) cluster: Cluster,
    pub(super) key: Arc<SealKey>,
    pub(super) vehicle: Vehicle,
    secure: bool,
}

impl SessionLayer {
    /// Carries tokens in a cookie named `bilten-seen`: `HttpOnly`, `Secure`, `SameSite=Lax`, for all paths, as long as the
    /// key's [`ttl`](SealKey::ttl).
    pub fn new(cluster: &Cluster, key: SealKey) -> Self {
        Self {
            cluster: cluster.clone(),
            key: Arc::new(key),
            vehicle: Vehicle::Cookie(Cookie::default()),
            secure: true,
        }
    }

    /// Another name for the cookie.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when a cookie cannot have this name.
    pub fn cookie(mut self, name: impl Into<String>) -> Result<Self, Error> {
        self.vehicle = Vehicle::Cookie(Cookie::named(name.into(), self.secure)?);
        Ok(self)
    }

    /// Lets the cookie travel over plain HTTP too, for development.
    pub fn insecure(mut self) -> Self {
        self.secure = false;
        if let Vehicle::Cookie(cookie) = &mut self.vehicle {
            cookie.secure = false;
        }
        self
    }

    /// Carries tokens in this header, of requests and of responses, for clients that keep no cookies.
    pub fn header(mut self, name: HeaderName) -> Self {
        self.vehicle = Vehicle::Header(name);
        self
    }

    /// The header of a response that carries this token.
    pub(super) fn carry(&self, sealed: &str) -> Option<(HeaderName, HeaderValue)> {
        self.vehicle.write(sealed, self.key.lifetime())
    }
}

impl<S> Layer<S> for SessionLayer {
    type Service = SessionService<S>;

    fn layer(&self, inner: S) -> SessionService<S> {
        SessionService::new(inner, self.clone())
    }
}

/// The session of a request. Dereferences to [`Session`]: `Event::find().all(&*session)`.
///
/// Found in the extensions of a request that came through a [`SessionLayer`], which has an example.
#[derive(Debug, Clone)]
pub struct RequestSession(pub(super) Arc<Session>);

impl Deref for RequestSession {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.0
    }
}

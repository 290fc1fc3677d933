//! A tower layer that keeps whole HTTP responses, for any service on `http` 1; in axum, `Router::layer`.
//!
//! It is a shared cache by RFC 9111 in front of your own handlers, in the same process, and coherent with the other processes: what one
//! of them takes out, none serves. What may be stored, and for how long, the handlers say with `Cache-Control`.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use axum::{Router, http::header::CACHE_CONTROL, routing::get};
//! use bilten_cache::{Cache, Pattern, http::CacheTags};
//!
//! let cache = Cache::builder("shop").build().await?;
//! let app: Router = Router::new()
//!     .route("/events", get(async || {
//!         let tags = axum::Extension(CacheTags::new(["events"]));
//!         ([(CACHE_CONTROL, "max-age=60, stale-while-revalidate=30")], tags, "[]")
//!     }))
//!     .layer(cache.http().build()?);
//! # let _ = app;
//!
//! // Somewhere, when an event changes: one record, whatever it hits.
//! let _ = cache.invalidate_tag("events").await;
//! let _ = cache.invalidate_pattern(&Pattern::prefix("http://shop.example/events")).await;
//! # Ok(()) }
//! ```
//!
//! # What is stored
//!
//! Answers to `GET` with a status whose meaning is known, and with `max-age`, `s-maxage` or `Expires` (or, on your word,
//! [`time_to_live`](HttpCacheBuilder::time_to_live)). Never those that say `no-store` or `private`, that set a cookie, that vary by
//! `*` or by more than eight fields, that are larger than [`max_body_bytes`](HttpCacheBuilder::max_body_bytes), whose body broke off or
//! has trailers. `Range`, `If-Match`, `Upgrade`, requests with a body or with `Authorization` go by. `HEAD` is
//! answered from a stored `GET`. A change (`POST`, `PUT`, `DELETE`, any method that is not known to be safe) that succeeds takes its URI
//! out, and what its `Location` and `Content-Location` name on the same host.
//!
//! # What your handlers notice
//!
//! Many requests for one cold page call the handler once. It runs in a task of its own, so that a client who leaves takes
//! nothing away from the others: tokio's task locals that are set outside of this layer are not seen inside. It gets no conditions
//! (`If-None-Match`, `If-Modified-Since`) but those of the stored response, to which it may answer 304. When the answer turns out to be for one
//! request only, everybody who waited asks for himself, at the same time, and for some seconds nobody waits again.
//!
//! Extensions of a response are not stored. Put layers that compress outside: so one stored response serves all.

mod answer;
mod ask;
mod asked;
mod body;
mod builder;
mod directives;
mod exchange;
mod fill;
mod layer;
mod page;
#[cfg(all(test, feature = "json", feature = "messagepack", feature = "zstd"))]
pub(crate) use page::reread;
mod policy;
#[cfg(test)]
mod policy_tests;
mod reader;
mod service;
mod setup;
mod shared;
mod status;
mod tags;
mod uri;
mod vary;

pub use self::body::CachedBody;
pub use self::builder::HttpCacheBuilder;
pub use self::layer::HttpCache;
pub use self::service::CachedService;
#[cfg(feature = "config")]
pub(crate) use self::setup::Setup;
pub use self::tags::CacheTags;
#[cfg(feature = "config")]
pub(crate) use self::uri::Query;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use bilten_db::http::{RequestSession, SessionLayer};
use bilten_db::sea_orm::ConnectionTrait;
use bilten_db::seal::SealKey;
use bilten_db::{Cluster, Token};
use bilten_testbed::eventually_async;
use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderName, Request, Response};
use tower::ServiceExt;

use crate::fixture::{LIMIT, builder_for, port, private, tally, who_reads};
use crate::sessions::delayed;

fn key() -> SealKey {
    SealKey::new("a secret of thirty-two bytes, no less").unwrap()
}

/// Each route answers with the port of the server that read.
fn app(layer: SessionLayer) -> Router {
    let read = async |session: RequestSession| who_reads(&*session).await.unwrap().to_string();
    let write = async |session: RequestSession| {
        let sql = "insert into event (name) values ('a')";
        session.execute_unprepared(sql).await.unwrap();
        who_reads(&*session).await.unwrap().to_string()
    };
    let none =
        async |session: Option<RequestSession>, State(()): State<()>| session.is_some().to_string();
    Router::new()
        .route("/", get(read))
        .route("/", post(write))
        .route("/optional", get(none))
        .layer(layer)
}

async fn ask(app: &Router, request: Request<Body>) -> (Response<()>, String) {
    let response = app.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let text = String::from_utf8(body.to_vec()).unwrap();
    (Response::from_parts(parts, ()), text)
}

fn with_cookie(cookie: &str) -> Request<Body> {
    Request::get("/")
        .header(COOKIE, cookie)
        .body(Body::empty())
        .unwrap()
}

fn cookie_of(response: &Response<()>) -> Option<String> {
    let line = response.headers().get(SET_COOKIE)?.to_str().unwrap();
    Some(line.split(';').next().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_sees_what_the_last_request_wrote_and_others_read_replicas() {
    let postgres = private(1);
    let db = builder_for(&postgres).connect().await.unwrap();
    let app = app(SessionLayer::new(&db, key()));
    let (primary, replica) = (
        port(postgres.primary()).to_string(),
        port(postgres.replica(0)).to_string(),
    );
    let plain = || Request::get("/").body(Body::empty()).unwrap();
    let (response, from) = ask(&app, plain()).await;
    assert_eq!(
        (from, cookie_of(&response)),
        (replica.clone(), None),
        "nothing was written"
    );

    postgres.replica(0).pause_replay().unwrap();
    let (response, from) = ask(&app, Request::post("/").body(Body::empty()).unwrap()).await;
    assert_eq!(from, primary, "the request that wrote reads its write");
    let cookie = cookie_of(&response).unwrap();
    let (response, from) = ask(&app, with_cookie(&format!("a=1; {cookie}"))).await;
    assert_eq!(from, primary, "the replica has not replayed it");
    assert_eq!(cookie_of(&response), None, "the cookie stays as it is");
    assert_eq!(ask(&app, plain()).await.1, replica, "another user");

    postgres.replica(0).resume_replay().unwrap();
    eventually_async(LIMIT, || async {
        ask(&app, with_cookie(&cookie)).await.1 == replica
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_not_ours_sends_reads_to_the_primary() {
    let postgres = private(1);
    let db = builder_for(&postgres).connect().await.unwrap();
    let session = db.session();
    session
        .execute_unprepared("insert into event (name) values ('a')")
        .await
        .unwrap();
    let token = session.token().await.unwrap().unwrap();
    postgres.wait_for_replicas().unwrap();
    let (primary, replica) = (port(postgres.primary()), port(postgres.replica(0)));

    let good = token.seal(&key());
    eventually_async(LIMIT, || async {
        who_reads(&db.session_sealed(Some(&good), &key()))
            .await
            .unwrap()
            == replica
    })
    .await;
    let stranger = SealKey::new("another secret of thirty-two bytes, at least").unwrap();
    let elsewhere: Token = "1-6f1c0d5e8a-1-10".parse().unwrap();
    let forged = good.replacen("1-", "1-0", 1);
    for (what, sealed) in [
        ("sealed by another", token.seal(&stranger)),
        ("of another system", elsewhere.seal(&key())),
        ("changed", forged),
        ("never sealed", token.to_string()),
        ("nothing at all", String::new()),
        ("too long", "f".repeat(100_000)),
    ] {
        let session = db.session_sealed(Some(&sealed), &key());
        assert_eq!(
            who_reads(&session).await.unwrap(),
            primary,
            "a token {what}"
        );
    }
    assert_eq!(
        who_reads(&db.session_sealed(None, &key())).await.unwrap(),
        replica
    );
}

#[tokio::test]
async fn a_header_carries_the_token_as_well() {
    let db = Cluster::builder()
        .primary("sqlite::memory:")
        .connect()
        .await
        .unwrap();
    let sql = "create table event (name text); create view place as select 1 as id, 7 as port";
    db.execute_unprepared(sql).await.unwrap();
    let name = HeaderName::from_static("x-seen");
    let app = app(SessionLayer::new(&db, key()).header(name.clone()));
    let (response, _) = ask(&app, Request::post("/").body(Body::empty()).unwrap()).await;
    let sealed = response.headers()[&name].to_str().unwrap();
    assert!(Token::open(sealed, &key()).is_ok());
    assert_eq!(tally(&db, 1).await[&7], 1);
}

#[tokio::test]
async fn a_route_without_the_layer_says_so() {
    let read = async |session: RequestSession| drop(session);
    let app = Router::new().route("/", get(read));
    let (response, _) = ask(&app, Request::get("/").body(Body::empty()).unwrap()).await;
    assert_eq!(response.status(), 500);
    let db = Cluster::builder()
        .primary("sqlite::memory:")
        .connect()
        .await
        .unwrap();
    let app = crate::http::app(SessionLayer::new(&db, key()));
    let request = Request::get("/optional").body(Body::empty()).unwrap();
    assert_eq!(ask(&app, request).await.1, "true");
    assert!(SessionLayer::new(&db, key()).cookie("a b").is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_shows_another_process_what_was_written_however_late_the_replicas_are() {
    let postgres = delayed();
    let name = HeaderName::from_static("x-seen");
    let [here, there] = [(); 2].map(|()| builder_for(&postgres).connect());
    let (here, there) = (here.await.unwrap(), there.await.unwrap());
    let write = async |session: RequestSession| {
        let sql = "insert into event (name) values ('a') returning id";
        crate::fixture::ask::<i32>(&*session, sql)
            .await
            .unwrap()
            .to_string()
    };
    let count = |id: &str| format!("select count(*) from event where id = {id}");
    let read = async move |session: RequestSession, Path(id): Path<String>| {
        let found: i64 = crate::fixture::ask(&*session, &count(&id)).await.unwrap();
        found.to_string()
    };
    // Each knows nothing of the other but the key.
    let layer = |db: &Cluster| SessionLayer::new(db, key()).header(name.clone());
    let writer = Router::new().route("/", post(write)).layer(layer(&here));
    let reader = Router::new().route("/{id}", get(read)).layer(layer(&there));
    let mut plainly_missed = 0;
    for _ in 0..100 {
        let request = Request::post("/").body(Body::empty()).unwrap();
        let (response, id) = ask(&writer, request).await;
        let plain: i64 = crate::fixture::ask(&there, &count(&id)).await.unwrap();
        plainly_missed += i64::from(plain == 0);
        let request = Request::get(format!("/{id}"))
            .header(&name, &response.headers()[&name])
            .body(Body::empty())
            .unwrap();
        assert_eq!(ask(&reader, request).await.1, "1", "{id} was missed");
    }
    assert!(plainly_missed > 0, "the test proves nothing");
}

//! Starts the service, or checks it from outside with `--smoke`.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::io::IsTerminal;
use std::process::ExitCode;

use bilten_events::app::App;
use bilten_events::config::Config;
use bilten_events::error::chain;
use bilten_events::serve::{self, Limits};
use bilten_events::smoke;
use bilten_monitor::prometheus::{self, Options};
use clap::Parser;
use tokio::sync::oneshot;
use tracing_subscriber::EnvFilter;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let config = Config::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOGGED));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    if let Err(error) = serve::as_many_as_allowed() {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    let outcome = tokio::runtime::Runtime::new()
        .map_err(Failure::from)
        .and_then(|runtime| runtime.block_on(run(&config)));
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bilten-events: {}", chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

async fn run(config: &Config) -> Result<ExitCode, Failure> {
    // First, because a taken port is the likeliest mistake and the cheapest to find.
    let address = config.address();
    let listener = serve::listen(address)
        .map_err(|error| format!("cannot listen on {address} ({error}); choose another --port"))?;
    let base = format!("http://{}", listener.local_addr()?);
    // Before the cache: it takes its counters from the recorder when it is built.
    let metrics = prometheus::install(Options::default())?;
    let app = App::start(config, Some(metrics)).await?;
    // Dropped or sent: the smoke test is done.
    let (done, smoked) = oneshot::channel::<()>();
    let smoke = config.smoke;
    // Before anybody can know that the service is there.
    let told = serve::told_to_stop();
    let stop = async move {
        tokio::select! {
            () = told => {}
            _ = smoked, if smoke => {}
        }
    };
    let stopping = app.clone();
    let server = serve::serve(listener, app.router(), Limits::default(), stop, move || {
        stopping.begin_shutdown();
    });
    let server = tokio::spawn(server);
    let mut code = ExitCode::SUCCESS;
    if smoke {
        let complaints = smoke::run(&base, config.redis.is_some(), &mut std::io::stdout()).await;
        code = ExitCode::from(u8::from(complaints > 0));
    } else {
        for path in URLS {
            println!("{base}{path}");
        }
    }
    drop(done);
    server.await?;
    app.close().await;
    Ok(code)
}

/// Without sqlx's line for each wait of two seconds: in a rush that is thousands, and the slow alerts count them.
const LOGGED: &str = "warn,bilten_events=info,sqlx::pool::acquire=error";

const URLS: [&str; 7] = [
    "/bilten",
    "/api/v1/events",
    "/healthz",
    "/readyz",
    "/livez",
    "/startupz",
    "/metrics",
];

//! Starts the service, or checks it from outside with `--smoke`.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::io::IsTerminal;
use std::process::ExitCode;

use bilten_events::app::App;
use bilten_events::config::Config;
use bilten_events::error::chain;
use bilten_events::{serve, smoke};
use bilten_monitor::prometheus::{self, Options};
use clap::Parser;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tracing_subscriber::EnvFilter;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let config = Config::parse();
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("warn,bilten_events=info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
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
    let listener = TcpListener::bind(address).await;
    let listener = listener
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
    let server = tokio::spawn(serve::serve(listener, app.router(), stop, move || {
        stopping.begin_shutdown()
    }));
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
    server.await??;
    app.close().await;
    Ok(code)
}

const URLS: [&str; 6] = [
    "/api/v1/events",
    "/healthz",
    "/readyz",
    "/livez",
    "/startupz",
    "/metrics",
];

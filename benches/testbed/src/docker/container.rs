use std::fmt;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;

use testcontainers::core::IntoContainerPort;
use testcontainers::core::client::docker_client_instance;
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt, TestcontainersError};
use tokio::runtime::{self, Runtime};

use super::{ContainerSpec, engine, sweep};
use crate::Error;
use crate::environment::SOURCE;
use crate::machine::instance::{Instance, tail};
use crate::machine::server::Server;

/// A server in a container of its own, reachable on one loopback port.
struct Container {
    // Taken only when it is dropped.
    inner: Option<ContainerAsync<GenericImage>>,
    reaper: Option<Child>,
    image: String,
}

/// Starts the container and what removes it when this process dies.
pub(crate) fn start(spec: &ContainerSpec) -> Result<Box<dyn Instance>, Error> {
    if let Err(problem) = engine::answers() {
        return Err(Error::missing(
            "a Docker engine",
            format!("{problem}: start one, or unset {}", SOURCE),
        ));
    }
    let (name, tag) = spec
        .image
        .rsplit_once(':')
        .unwrap_or((&spec.image, "latest"));
    let image = GenericImage::new(name, tag).with_entrypoint("/bin/sh");
    let command = ["-c", spec.script, "sh"]
        .into_iter()
        .map(str::to_owned)
        .chain(spec.arguments.iter().cloned());
    let mut request = image
        .with_cmd(command)
        .with_mapped_port(spec.port, spec.inner_port.tcp())
        .with_label(sweep::LABEL, std::process::id().to_string())
        .with_host_config_modifier(|host| {
            // Nobody else on the network shall reach a server without a password.
            for binding in host
                .port_bindings
                .iter_mut()
                .flat_map(|all| all.values_mut())
                .flatten()
                .flatten()
            {
                binding.host_ip = Some("127.0.0.1".to_owned());
            }
        });
    if let Some(user) = spec.user {
        request = request.with_user(user);
    }
    let started = run(async {
        sweep::once().await;
        request.start().await
    });
    let inner = started.map_err(|e| Error::NotReady {
        server: format!("a container of {}", spec.image),
        reason: e.to_string(),
        log: chain(&e),
    })?;
    let reaper = reaper(inner.id());
    Ok(Box::new(Container {
        inner: Some(inner),
        reaper,
        image: spec.image.clone(),
    }))
}

/// Reads a pipe that only we hold and removes the container when it closes. Without the `docker` program the
/// next process sweeps instead.
fn reaper(id: &str) -> Option<Child> {
    use std::os::unix::process::CommandExt;
    let script =
        "trap '' HUP INT TERM; read -r line && exit 0; exec docker rm --force --volumes \"$1\"";
    Command::new("/bin/sh")
        .args(["-c", script, "bilten-testbed-reaper", id])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .ok()
}

impl Container {
    fn inner(&self) -> Result<&ContainerAsync<GenericImage>, Error> {
        self.inner
            .as_ref()
            .ok_or_else(|| Error::unsupported("using a removed container", "start another"))
    }

    fn failed(&self, doing: &str, error: &TestcontainersError) -> Error {
        Error::refused(
            &format!("{doing} the container of {}", self.image),
            chain(error),
        )
    }
}

impl fmt::Debug for Container {
    // Not the request: the configuration with its passwords is in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.inner.as_ref().map(|inner| inner.id());
        f.debug_struct("Container")
            .field("image", &self.image)
            .field("id", &id)
            .finish_non_exhaustive()
    }
}

impl Instance for Container {
    fn is_running(&self) -> bool {
        self.inner()
            .is_ok_and(|inner| run(inner.is_running()).unwrap_or(false))
    }

    fn kill(&self) -> Result<(), Error> {
        // A frozen container takes no signal.
        self.resume()?;
        run(self.inner()?.stop_with_timeout(Some(0))).map_err(|e| self.failed("kill", &e))
    }

    fn stop(&self, _signal: &str) -> Result<(), Error> {
        self.resume()?;
        run(self.inner()?.stop_with_timeout(Some(10))).map_err(|e| self.failed("stop", &e))
    }

    fn start_again(&mut self) -> Result<(), Error> {
        run(self.inner()?.start()).map_err(|e| self.failed("start", &e))
    }

    fn pause(&self) -> Result<(), Error> {
        run(self.inner()?.pause()).map_err(|e| self.failed("pause", &e))
    }

    fn resume(&self) -> Result<(), Error> {
        // The engine refuses for one that is not frozen, which is no error here.
        let _ = run(self.inner()?.unpause());
        Ok(())
    }

    fn inner_host(&self) -> Result<String, Error> {
        let id = self.inner()?.id();
        let address = run(address(id))
            .map_err(|e| Error::refused(&format!("inspect the container of {}", self.image), e))?;
        address.ok_or_else(|| {
            Error::unsupported(
                "a network of containers without addresses",
                "use the default bridge",
            )
        })
    }

    fn log_tail(&self) -> String {
        let Ok(inner) = self.inner() else {
            return String::new();
        };
        let read = run(async {
            Ok::<_, TestcontainersError>(
                [inner.stdout_to_vec().await?, inner.stderr_to_vec().await?].concat(),
            )
        });
        tail(&read.unwrap_or_default())
    }

    fn process(&self) -> Option<&Server> {
        None
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.take() {
            let _ = run(async {
                let _ = inner.unpause().await;
                inner.rm().await
            });
        }
        if let Some(mut reaper) = self.reaper.take() {
            // Its removal of what is gone already ends at once.
            drop(reaper.stdin.take());
            let _ = reaper.wait();
        }
    }
}

/// The address on its first network. Asked of the engine itself: older ones call the default network by a name that
/// they do not know when asked for it.
async fn address(id: &str) -> Result<Option<String>, String> {
    let docker = docker_client_instance().await.map_err(|e| chain(&e))?;
    let container = docker
        .inspect_container(id, None)
        .await
        .map_err(|e| chain(&e))?;
    let networks = container
        .network_settings
        .and_then(|settings| settings.networks)
        .unwrap_or_default();
    Ok(networks
        .into_values()
        .find_map(|network| network.ip_address.filter(|ip| !ip.is_empty())))
}

/// Runs it on our runtime from a thread of its own: the caller may be inside a runtime, where blocking panics.
fn run<T: Send>(future: impl Future<Output = T> + Send) -> T {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        let built = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        built.expect("a runtime for the Docker client can be built")
    });
    let outcome = thread::scope(|scope| scope.spawn(|| runtime.block_on(future)).join());
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The error with its causes: the engine's words are in the last.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

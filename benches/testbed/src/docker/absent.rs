use super::ContainerSpec;
use crate::Error;
use crate::machine::instance::Instance;

/// Says what is missing: this build cannot talk to an engine.
pub(crate) fn start(spec: &ContainerSpec) -> Result<Box<dyn Instance>, Error> {
    Err(Error::unsupported(
        format!("starting {} in a container", spec.image),
        "build bilten-testbed with its feature `docker`",
    ))
}

/// A server in a container: which image, which port, and the shell script that starts it.
#[derive(Debug, Clone)]
#[cfg_attr(
    not(feature = "docker"),
    allow(dead_code, reason = "only containers read them")
)]
pub(crate) struct ContainerSpec {
    /// `name:tag`.
    pub(crate) image: String,
    /// The port inside.
    pub(crate) inner_port: u16,
    /// The loopback port outside; it is given again after a restart.
    pub(crate) port: u16,
    /// The user inside, when not the image's own.
    pub(crate) user: Option<&'static str>,
    /// Run by `sh -c`.
    pub(crate) script: &'static str,
    /// The script's `$1`, `$2` and so on.
    pub(crate) arguments: Vec<String>,
}

impl ContainerSpec {
    /// The image to use unless the environment names another.
    pub(crate) fn image(variable: &str, otherwise: &str) -> String {
        crate::environment::variable(variable).unwrap_or_else(|| otherwise.to_owned())
    }
}

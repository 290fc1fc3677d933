use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Error;
use crate::machine::program;
use crate::machine::user::ServerUser;

/// The certificates of a server with TLS, made for it alone and removed with it.
///
/// ```no_run
/// let redis = bilten_testbed::Redis::builder().tls().start()?;
/// let authority = std::fs::read(redis.tls_files().unwrap().authority()).unwrap();
/// assert!(redis.url().starts_with("rediss://"));
/// assert!(authority.starts_with(b"-----BEGIN CERTIFICATE-----"));
/// # Ok::<(), bilten_testbed::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct TlsFiles {
    directory: PathBuf,
}

impl TlsFiles {
    /// The files in a server's directory, made or not.
    pub(super) fn of(server: &Path) -> Self {
        Self {
            directory: server.join("tls"),
        }
    }

    pub(super) fn make(&self) -> Result<(), Error> {
        let openssl = program::find("openssl")
            .ok_or_else(|| Error::missing("openssl", "install the package openssl"))?;
        fs::create_dir(&self.directory)
            .map_err(|e| Error::io("make the directory for certificates", e))?;
        let run = |words: &[&str]| self.openssl(&openssl, words);
        let extensions =
            "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=critical,CA:FALSE\n";
        fs::write(self.file("server.ext"), extensions)
            .map_err(|e| Error::io("write server.ext", e))?;
        let key = [
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
        ];
        run(&[
            &["req", "-x509"],
            &key[..],
            &[
                "-subj",
                "/CN=bilten testbed",
                "-days",
                "2",
                "-keyout",
                "ca.key",
                "-out",
                "ca.pem",
            ],
        ]
        .concat())?;
        run(&[
            &["req"],
            &key[..],
            &[
                "-subj",
                "/CN=localhost",
                "-keyout",
                "server.key",
                "-out",
                "server.csr",
            ],
        ]
        .concat())?;
        run(&[
            "x509",
            "-req",
            "-in",
            "server.csr",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            "server.ext",
            "-out",
            "server.pem",
        ])?;
        for name in ["ca.pem", "server.key", "server.pem"] {
            ServerUser::current()?.own(&self.file(name))?;
        }
        ServerUser::current()?.own(&self.directory)
    }

    /// The certificate of the authority that signed the server's, in PEM: what a client must trust.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.file("ca.pem")
    }

    pub(super) fn options(&self, port: u16) -> [(&'static str, String); 5] {
        let path = |name| self.file(name).to_string_lossy().into_owned();
        [
            ("tls-port", port.to_string()),
            ("tls-cert-file", path("server.pem")),
            ("tls-key-file", path("server.key")),
            ("tls-ca-cert-file", path("ca.pem")),
            ("tls-auth-clients", "no".to_owned()),
        ]
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn openssl(&self, program: &Path, words: &[&str]) -> Result<(), Error> {
        let output = Command::new(program)
            .args(words)
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .output()
            .map_err(|e| Error::io("run openssl", e))?;
        if output.status.success() {
            return Ok(());
        }
        Err(Error::refused(
            &format!("openssl {}", words[0]),
            String::from_utf8_lossy(&output.stderr).trim(),
        ))
    }
}

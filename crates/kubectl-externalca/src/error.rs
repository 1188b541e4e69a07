//! Why a command failed.

use std::path::PathBuf;

use external_ca_core::model::refusal::{garbled, refusal};
use external_ca_core::x509::MintError;

/// A command that failed: exit code 1.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No kubeconfig, or one that cannot be used.
    #[error("no way to the API server: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// Neither a kubeconfig nor a ServiceAccount.
    #[error("no way to the API server: {0}")]
    Config(#[from] kube::config::InferConfigError),
    /// The API server refused or failed.
    #[error("{what}: {}", api_message(.source))]
    Api {
        /// What was read or written.
        what: String,
        /// The answer of the API server.
        source: Box<kube::Error>,
    },
    /// There is no issuance, or none of that name.
    #[error("{0}")]
    NotFound(String),
    /// A file could not be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file holds something else than was expected.
    #[error("{}: {problem}", path.display())]
    Document {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A CA cannot be forecast with.
    #[error("the way to the end cannot be forecast: {0}")]
    Forecast(#[from] MintError),
    /// The answer could not be written.
    #[error("the answer cannot be written: {0}")]
    Output(String),
}

impl Error {
    /// The answer of the API server about an object or a list.
    pub fn api(what: impl ToString, source: kube::Error) -> Self {
        Self::Api {
            what: what.to_string(),
            source: Box::new(source),
        }
    }
}

/// The answer of the API server, in one line.
pub fn api_message(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => refusal(status),
        kube::Error::SerdeError(error) => garbled(error),
        error => format!("the API server cannot be reached: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Secret;

    #[test]
    fn an_answer_that_does_not_parse_is_not_quoted() {
        for body in [r#"{"data":"S0VZS0VZS0VZ"}"#, r#"{"data":{"tls.key":"S0VZ"#] {
            let Err(error) = serde_json::from_str::<Secret>(body) else {
                continue;
            };
            let told = Error::api("Secret ns/one", kube::Error::SerdeError(error)).to_string();
            assert!(!told.contains("S0VZ"), "{told}");
            assert!(told.contains("cannot be read"), "{told}");
        }
    }
}

//! The URL of a store: which one, which bucket, and where in it. Credentials come from the store's usual variables, never from a URL.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{BackoffConfig, ObjectStore, RetryConfig};
use reqwest::Url;

use super::Variables;
use super::error::RemoteError;
use super::http::{Answers, Connector};

const FORMS: &str =
    "name s3://BUCKET/PATH, gs://BUCKET/PATH, az://CONTAINER/PATH or a directory as file:///PATH";

pub(super) struct Place {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) prefix: Path,
    pub(super) shown: String,
    pub(super) is_directory: bool,
}

fn wrong(problem: &str) -> RemoteError {
    RemoteError::Url(format!("{problem}; {FORMS}"))
}

/// Answers of 500 and above, and throttled ones, are asked for again for a while.
fn patience() -> RetryConfig {
    RetryConfig {
        max_retries: 5,
        retry_timeout: Duration::from_mins(1),
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(10),
            base: 2.,
        },
    }
}

pub(super) fn open(
    text: &str,
    variables: &Variables,
    answers: &Arc<Answers>,
) -> Result<Place, RemoteError> {
    if !text.contains("://") {
        if Url::parse(text).is_ok() {
            return Err(wrong(
                "the address of the store has a colon and no `//`, and is not repeated; write ./PATH for a directory",
            ));
        }
        let path = std::path::absolute(text).map_err(|_| wrong("the store has no name"))?;
        return directory(&path);
    }
    let url = Url::parse(text).map_err(|_| wrong("the address of the store is no URL"))?;
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err(wrong(
            "the URL of a store holds no user, password or signature, and is not repeated; give credentials in the store's variables",
        ));
    }
    if url.scheme() == "file" {
        let path = url
            .to_file_path()
            .map_err(|()| wrong("the URL of a directory names no path of this machine"))?;
        return directory(&path);
    }
    let bucket = url.host_str().filter(|host| !host.is_empty());
    let bucket = bucket.ok_or_else(|| wrong("the URL of the store names no bucket"))?;
    let prefix = Path::from_url_path(url.path())
        .map_err(|_| wrong("the path in the URL of the store is no name of objects"))?;
    let shown = format!("{}://{bucket}/{prefix}", url.scheme());
    let connector = Connector(Arc::clone(answers));
    let setup = |error: &object_store::Error| {
        let missing = match error {
            object_store::Error::Generic { .. } => {
                "a variable that it needs is missing or not understood"
            }
            _ => "it cannot be used",
        };
        RemoteError::Url(format!(
            "{shown}: {missing}; set the store's usual variables (AWS_…, GOOGLE_…, AZURE_…)"
        ))
    };
    let store: Arc<dyn ObjectStore> = match url.scheme() {
        "s3" => {
            let builder = set(
                variables,
                "AWS_",
                AmazonS3Builder::new(),
                AmazonS3Builder::with_config,
            )
            .with_bucket_name(bucket)
            .with_retry(patience())
            .with_http_connector(connector);
            Arc::new(builder.build().map_err(|error| setup(&error))?)
        }
        "gs" => {
            let builder = GoogleCloudStorageBuilder::new();
            let builder = set(
                variables,
                "GOOGLE_",
                builder,
                GoogleCloudStorageBuilder::with_config,
            )
            .with_bucket_name(bucket)
            .with_retry(patience())
            .with_http_connector(connector);
            Arc::new(builder.build().map_err(|error| setup(&error))?)
        }
        "az" => {
            let builder = MicrosoftAzureBuilder::new();
            let builder = set(
                variables,
                "AZURE_",
                builder,
                MicrosoftAzureBuilder::with_config,
            )
            .with_container_name(bucket)
            .with_retry(patience())
            .with_http_connector(connector);
            Arc::new(builder.build().map_err(|error| setup(&error))?)
        }
        _ => return Err(wrong("no such kind of store is known")),
    };
    Ok(Place {
        store,
        prefix,
        shown: shown.trim_end_matches('/').to_owned(),
        is_directory: false,
    })
}

/// The settings of a store's client by its variables; those that it does not know are not for it.
fn set<B, K: std::str::FromStr>(
    variables: &Variables,
    start: &str,
    builder: B,
    with: impl Fn(B, K, String) -> B,
) -> B {
    let known = variables.iter().filter_map(|(name, value)| {
        let key = name.starts_with(start).then(|| name.to_ascii_lowercase())?;
        Some((key.parse::<K>().ok()?, value.clone()))
    });
    known.fold(builder, |builder, (key, value)| with(builder, key, value))
}

fn directory(path: &std::path::Path) -> Result<Place, RemoteError> {
    let shown = format!("file://{}", path.display());
    let store = match LocalFileSystem::new_with_prefix(path) {
        Ok(store) => store.with_fsync(true).with_automatic_cleanup(true),
        Err(_) => {
            return Err(RemoteError::Url(format!(
                "{shown} is no directory that can be used; make it first"
            )));
        }
    };
    Ok(Place {
        store: Arc::new(store),
        prefix: Path::default(),
        shown: shown.trim_end_matches('/').to_owned(),
        is_directory: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_with_credentials_is_refused_and_not_repeated() {
        for url in [
            "s3://key:secret@bucket/",
            "az://c/?sig=secret",
            "s3:///secret",
            "s3:/key:secret@bucket",
            "secret:bucket",
            "ftp://secret/",
        ] {
            let refused = open(url, &Vec::new(), &Arc::default());
            let Err(error) = refused else { panic!("{url}") };
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}

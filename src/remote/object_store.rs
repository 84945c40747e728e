//! Object stores as remotes, through opendal: S3, Google's and Azure's, WebDAV, and the cache of
//! GitHub's Actions. Keys and endpoints come from each service's usual environment variables.

use std::fs::File;
use std::io::Read;
use std::ops::RangeBounds;
use std::time::{Duration, Instant, SystemTime};

use opendal::layers::{RetryLayer, TimeoutLayer};
use opendal::{ErrorKind, HttpTransporter, Operator, services};
use opendal_http_transport_reqwest::ReqwestTransport;
use tokio::runtime::{Builder, Runtime};

use super::{Listed, Remote, Store};
use crate::cancel::Progress;
use crate::error::{Context, Result, anyhow, bail};
use crate::http::TooLong;
use crate::units::Bytes;

/// The bytes that are read at once.
const PIECE: usize = 256 << 10;

/// The bytes of a part of a large file; stores take parts of 5 MiB and more, and at most 10,000.
const PART: usize = 16 << 20;

/// An object store and the runtime that its requests are made on.
pub(super) struct ObjectStore {
    operator: Operator,
    runtime: Runtime,
    timeout: Duration,
}

impl ObjectStore {
    /// The service at `address`: `s3://bucket/prefix`.
    pub fn open(address: &str, timeout: Duration) -> Result<ObjectStore> {
        let client = crate::http::concurrent_client()?;
        HttpTransporter::install_default(ReqwestTransport::new(client));
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .context("starting the network threads")?;
        let operator = {
            let _inside = runtime.enter();
            operator(address)?
        };
        let operator = operator
            .layer(TimeoutLayer::new().with_timeout(timeout).with_io_timeout(timeout))
            .layer(RetryLayer::new().with_max_times(1).with_min_delay(Duration::from_millis(200)));
        Ok(ObjectStore { operator, runtime, timeout })
    }
}

impl ObjectStore {
    /// This range of the file `name`, or a little more than `most` bytes of it. It is read piece by piece
    /// because a service may send without end, and within the time that one request may take.
    async fn read(
        &self,
        name: &str,
        range: impl RangeBounds<u64>,
        most: u64,
    ) -> opendal::Result<Vec<u8>> {
        let start = Instant::now();
        let reader = self.operator.reader(name).await?;
        let mut stream = reader.into_futures_async_read(range).await?;
        let mut bytes = Vec::new();
        while bytes.len() as u64 <= most {
            let piece = stream.read_buffer(PIECE).await.map_err(from_io)?;
            if piece.is_empty() {
                break;
            }
            bytes.extend_from_slice(&piece.to_bytes());
            if start.elapsed() > self.timeout {
                let text = format!("it took more than {} s", self.timeout.as_secs());
                return Err(opendal::Error::new(ErrorKind::Unexpected, text));
            }
        }
        Ok(bytes)
    }
}

/// The service's error inside an I/O error.
fn from_io(error: std::io::Error) -> opendal::Error {
    let (kind, text) = (error.kind(), error.to_string());
    match error.into_inner().map(|inner| inner.downcast::<opendal::Error>()) {
        Some(Ok(error)) => *error,
        _ if kind == std::io::ErrorKind::NotFound => opendal::Error::new(ErrorKind::NotFound, text),
        _ => opendal::Error::new(ErrorKind::Unexpected, text),
    }
}

/// The value of an environment variable that is set and not empty.
fn set(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether an environment variable is set to the empty string.
fn is_empty(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| value.is_empty())
}

fn operator(address: &str) -> Result<Operator> {
    let (scheme, rest) = address.split_once("://").context("an address has a scheme")?;
    let (place, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let named = |what: &str| match place {
        "" => Err(anyhow!("the address names no {what}")),
        place => Ok(place),
    };
    Ok(match scheme {
        "s3" => {
            let mut s3 = services::S3::default().bucket(named("bucket")?).root(prefix);
            // Servers other than Amazon's require a region too, and accept any.
            if set("AWS_REGION").or_else(|| set("AWS_DEFAULT_REGION")).is_none() {
                s3 = s3.region("us-east-1");
            }
            // A CI service sets a variable without a value to the empty string: then the endpoint
            // is Amazon's and requests are anonymous.
            if is_empty("AWS_ENDPOINT_URL") {
                s3 = s3.endpoint("https://s3.amazonaws.com");
            }
            if is_empty("AWS_ACCESS_KEY_ID") {
                s3 = s3.skip_signature();
            }
            Operator::new(s3)?
        }
        "gcs" => {
            let mut gcs = services::Gcs::default().bucket(named("bucket")?).root(prefix);
            if let Some(host) = set("STORAGE_EMULATOR_HOST") {
                gcs = gcs.endpoint(&host).skip_signature();
            }
            Operator::new(gcs)?
        }
        "azblob" => {
            let blob = services::Azblob::default().container(named("container")?).root(prefix);
            let account =
                set("AZURE_STORAGE_ACCOUNT_NAME").or_else(|| set("AZURE_STORAGE_ACCOUNT"));
            let key = set("AZURE_STORAGE_ACCOUNT_KEY").or_else(|| set("AZURE_STORAGE_KEY"));
            let endpoint = set("AZURE_STORAGE_ENDPOINT").or_else(|| {
                account.as_ref().map(|it| format!("https://{it}.blob.core.windows.net"))
            });
            let Some(endpoint) = endpoint else { bail!("AZURE_STORAGE_ACCOUNT is not set") };
            let mut blob = blob.endpoint(&endpoint);
            if let Some(account) = &account {
                blob = blob.account_name(account);
            }
            if let Some(key) = &key {
                blob = blob.account_key(key);
            }
            Operator::new(blob)?
        }
        "webdav" | "webdavs" => {
            let web = if scheme == "webdav" { "http" } else { "https" };
            let (who, host) = named("server")?.rsplit_once('@').unwrap_or(("", place));
            let mut dav =
                services::Webdav::default().endpoint(&format!("{web}://{host}")).root(prefix);
            if let Some((user, password)) = who.split_once(':') {
                dav = dav.username(user).password(password);
            }
            Operator::new(dav)?
        }
        "ghac" => {
            let root = [place, prefix].join("/");
            Operator::new(services::Ghac::default().root(root.trim_matches('/')))?
        }
        other => bail!("there is no service `{other}`"),
    })
}

impl Remote for ObjectStore {
    fn get(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>> {
        match self.runtime.block_on(self.read(name, .., most)) {
            Ok(bytes) if bytes.len() as u64 > most => {
                Err(TooLong::than(most)).with_context(|| format!("reading {name}"))
            }
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(one_line(&error)),
        }
    }

    fn part(&self, name: &str, at: u64, length: u64) -> Result<Option<Vec<u8>>> {
        match self.runtime.block_on(self.read(name, at..at + length, length)) {
            Ok(bytes) if bytes.len() as u64 > length => {
                Err(TooLong::than(length)).with_context(|| format!("reading {name}"))
            }
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            // It ends before.
            Err(error) if error.kind() == ErrorKind::RangeNotSatisfied => Ok(Some(Vec::new())),
            Err(error) => Err(one_line(&error)),
        }
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let written = self.runtime.block_on(self.operator.write(name, bytes.to_vec()));
        match written {
            Ok(_) => Ok(()),
            // Names follow from content, so what is stored is the same. GitHub's cache accepts a
            // name once.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(one_line(&error)),
        }
    }

    fn has(&self, name: &str) -> Result<bool> {
        match self.runtime.block_on(self.operator.exists(name)) {
            Ok(there) => Ok(there),
            Err(error) => Err(one_line(&error)),
        }
    }

    fn list(&self, prefix: &str) -> Result<Vec<Listed>> {
        let list = self.operator.list_with(prefix).recursive(true);
        let entries = self.runtime.block_on(list.into_future());
        let entries = entries.map_err(|error| one_line(&error))?.into_iter();
        let files = entries.filter(|entry| entry.metadata().is_file());
        Ok(files
            .map(|entry| Listed {
                name: entry.path().to_string(),
                size: Bytes(entry.metadata().content_length()),
                written: entry.metadata().last_modified().map(SystemTime::from),
            })
            .collect())
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.runtime.block_on(self.operator.delete(name)).map_err(|error| one_line(&error))
    }
}

impl Store for ObjectStore {
    fn put_file(&self, name: &str, mut file: &File, progress: Progress<'_>) -> Result<()> {
        let total = file.metadata()?.len();
        let writer = self.operator.writer_with(name).chunk(PART);
        let mut writer =
            self.runtime.block_on(async { writer.await }).map_err(|error| one_line(&error))?;
        let (mut buffer, mut done) = (vec![0; PART], 0);
        let sent = loop {
            let n = match progress.advance(done, total).and_then(|()| Ok(file.read(&mut buffer)?)) {
                Ok(0) => break Ok(()),
                Ok(n) => n,
                Err(error) => break Err(error),
            };
            if let Err(error) = self.runtime.block_on(writer.write(buffer[..n].to_vec())) {
                break Err(one_line(&error));
            }
            done += n as u64;
        };
        let closed = match sent {
            Ok(()) => self.runtime.block_on(writer.close()).map_err(|error| one_line(&error)),
            Err(error) => Err(error),
        };
        if let Err(error) = closed {
            // Parts that are stored cost their owner money.
            let _ = self.runtime.block_on(writer.abort());
            return Err(error);
        }
        Ok(())
    }
}

/// The error on one line: opendal's own text has pages of addresses and headers.
fn one_line(error: &opendal::Error) -> crate::error::Error {
    let kind = error.kind();
    let first = error.message().lines().next().unwrap_or_default().to_string();
    anyhow!("{kind}: {}", first.chars().take(200).collect::<String>())
}

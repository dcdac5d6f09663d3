//! Listings for the garbage collector, and the question whether another server uses the same prefix.
//!
//! A base backup that is started beside its origin has the same identity and the same objects. So a server says, from time to time
//! and before it deletes anything, that it lives ([`Server`]), under a name that no backup copies; while it finds another one there
//! that lives, neither deletes anything, and both say so.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::Engine;
use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};
use crate::garbage::marks::Server;
use crate::ids::NamespaceId;
use crate::ipc::message::StoredObject;
use crate::limits::MAX_LISTED_OBJECTS;
use crate::storage::ObjectStore;

/// File with the server's name for this purpose, in the directory of the socket, which base backups skip.
const FILE: &str = "instance";
/// Longest time that an answer is good for: batches of one sweep come within seconds.
const LASTS: Duration = Duration::from_secs(60);
/// An answer is good for this part of the time that a server counts as alive: the divisor.
const SHARE: u64 = 10;

/// What the engine knows about claims.
#[derive(Debug)]
pub(super) struct Claims {
    /// Where the server's name is kept.
    directory: Option<PathBuf>,
    /// What this process writes into its marks: another content is that of a twin, a copy of the whole machine or of its volume, which
    /// has the same name.
    content: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    instance: String,
    /// Until when (monotonic) the last good answer holds, by root and cluster.
    good_until: HashMap<(String, NamespaceId), Duration>,
    /// Roots and keys of the marks that this process has written.
    written: HashSet<(String, String)>,
}

impl Claims {
    /// The server's name is read from beside the socket, or drawn and written there.
    pub(super) fn new(socket: &Path, env: &Env) -> Self {
        let directory = socket.parent().filter(|parent| !parent.as_os_str().is_empty()).map(Path::to_owned);
        let known = directory.as_ref().and_then(|directory| known(&directory.join(FILE)));
        let is_known = known.is_some();
        let instance = known.unwrap_or_else(|| env.ids.ulid().to_string());
        let content = format!("a server of this cluster uses these objects; its engine: {}\n", env.ids.ulid());
        let state = State { instance, good_until: HashMap::new(), written: HashSet::new() };
        let claims = Self { directory, content, state: Mutex::new(state) };
        if !is_known {
            claims.keep_name();
        }
        claims
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Names and times stay meaningful whatever panicked while holding them.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn instance(&self) -> String {
        self.state().instance.clone()
    }

    /// Writes the name to its file.
    fn keep_name(&self) {
        let Some(directory) = &self.directory else { return };
        if let Err(error) = remember(directory, &self.instance()) {
            tracing::warn!(
                path = %directory.join(FILE).display(), %error,
                "this server's name could not be written, so after a restart it waits for its former self before it deletes objects"
            );
        }
    }

    /// Takes another name, because somebody else goes by this one.
    fn rename(&self, env: &Env) {
        let mut state = self.state();
        state.instance = env.ids.ulid().to_string();
        state.good_until.clear();
        state.written.clear();
        drop(state);
        self.keep_name();
        tracing::warn!(
            "a copy of this server announces itself in object storage under the same name; this one has a new name now"
        );
    }
}

/// The name in the file. It also says which file it was written to: in a copy, of the files of a data directory say, it does not
/// count.
fn known(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let file = fs::metadata(path).ok()?;
    let (instance, place) = text.trim_end().split_once(' ')?;
    let server = Server { instance: instance.to_string(), valid_seconds: 0 };
    let cluster = NamespaceId([0; 16]);
    let well_formed = Server::parse(cluster, &server.key(cluster)).is_some();
    (well_formed && place == place_of(&file)).then(|| instance.to_string())
}

fn remember(directory: &Path, instance: &str) -> std::io::Result<()> {
    // The socket's: it is not there yet at the first start.
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let path: PathBuf = directory.join(FILE);
    let mut file = fs::File::create(&path)?;
    let place = place_of(&file.metadata()?);
    file.write_all(format!("{instance} {place}\n").as_bytes())?;
    file.sync_all()
}

/// Not the device: its number may change when the machine starts.
fn place_of(file: &fs::Metadata) -> String {
    file.ino().to_string()
}

impl Engine {
    /// A page of a listing.
    ///
    /// # Errors
    /// `OutOfRange` for a limit of 0 or above [`MAX_LISTED_OBJECTS`]; the store's.
    pub async fn list_objects(
        &self,
        root: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<StoredObject>> {
        if limit == 0 || limit > MAX_LISTED_OBJECTS {
            return Err(Error::new(ErrorKind::OutOfRange, format!("a page of {limit} objects cannot be listed")));
        }
        let store = self.stores.get(root).await?;
        let page = store.list_page(prefix, after, limit as usize).await?;
        Ok(page
            .into_iter()
            .map(|object| StoredObject { modified: micros(object.modified), bytes: object.size, key: object.key })
            .collect())
    }

    /// Puts a mark unless it is there.
    ///
    /// # Errors
    /// The store's.
    pub async fn put_mark(&self, root: &str, key: &str, text: String) -> Result<()> {
        self.stores.get(root).await?.put_if_absent(key, Bytes::from(text)).await.map(drop)
    }

    /// Ends uploads in parts that began so long ago that nobody completes them any more.
    ///
    /// # Errors
    /// The store's.
    pub async fn abort_uploads(&self, root: &str, prefix: &str, age_seconds: u64) -> Result<()> {
        let before = self.env.clock.now().checked_sub(Duration::from_secs(age_seconds)).unwrap_or(UNIX_EPOCH);
        let aborted = self.stores.get(root).await?.abort_uploads(prefix, before).await?;
        if aborted > 0 {
            tracing::info!(root, aborted, "uploads that a crash left unfinished are ended");
        }
        Ok(())
    }

    /// Finds out whether this server is alone in using the prefix of a cluster. With `announce` it first says in storage that it
    /// lives, for so many seconds: of two servers that do, one finds the other.
    ///
    /// # Errors
    /// `Fenced` if another one lives; the store's.
    pub async fn claim(&self, root: &str, cluster: NamespaceId, announce: Option<u64>) -> Result<()> {
        let name = (root.to_string(), cluster);
        let now = self.env.clock.monotonic();
        if self.claims.state().good_until.get(&name).is_some_and(|until| now < *until) {
            return Ok(());
        }
        let store = self.stores.get(root).await?;
        let key = match announce {
            Some(valid_seconds) => Some(self.announce(store.as_ref(), root, cluster, valid_seconds).await?),
            None => None,
        };
        let instance = self.claims.instance();
        let own = |key: &str| Server::parse(cluster, key).filter(|server| server.instance == instance);
        let found = store.list(&Server::prefix(cluster), None).await?;
        // By the store's own clock, if it has just written something for us.
        let mine = found.iter().find(|object| Some(&object.key) == key.as_ref());
        let present = mine.map_or_else(|| self.env.clock.now(), |object| object.modified);
        let mut over = Vec::new();
        for object in &found {
            let Some(server) = Server::parse(cluster, &object.key) else { continue };
            if own(&object.key).is_some() {
                if Some(&object.key) != key.as_ref() {
                    over.push(object.key.clone());
                }
                continue;
            }
            let age = present.duration_since(object.modified).unwrap_or_default().as_secs();
            if age <= server.valid_seconds {
                return Err(another(root, &server, age));
            }
            over.push(object.key.clone());
        }
        let Some(valid_seconds) = announce else { return Ok(()) };
        // Of servers that are gone, and with another time of our own. One that comes back announces itself anew.
        store.delete(&over).await?;
        let until = now + LASTS.min(Duration::from_secs(valid_seconds / SHARE));
        self.claims.state().good_until.insert(name, until);
        Ok(())
    }

    /// Says in storage that this server lives; returns the key of the mark.
    async fn announce(
        &self,
        store: &dyn ObjectStore,
        root: &str,
        cluster: NamespaceId,
        valid_seconds: u64,
    ) -> Result<String> {
        let content = Bytes::from(self.claims.content.clone());
        let key_of = |instance| Server { instance, valid_seconds }.key(cluster);
        let mut key = key_of(self.claims.instance());
        if self.claims.state().written.contains(&(root.to_string(), key.clone())) {
            match store.get(&key).await {
                Ok(found) if found != content => {
                    self.claims.rename(&self.env);
                    key = key_of(self.claims.instance());
                }
                Ok(_) => {}
                // Removed by hand, or by a server that had not heard of us for long.
                Err(error) if error.kind == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        store.put(&key, content).await?;
        self.claims.state().written.insert((root.to_string(), key.clone()));
        Ok(key)
    }
}

fn another(root: &str, server: &Server, age: u64) -> Error {
    let left = server.valid_seconds.saturating_sub(age);
    Error::new(ErrorKind::Fenced, format!("another server uses the objects of this cluster in \"{root}\""))
        .with_detail(format!("It was seen {age} s ago as {}. Nothing is deleted while it lives.", server.instance))
        .with_hint(format!(
            "A copy that is to live beside its origin needs an elacsym.storage_url of its own and indexes built there. A server that is gone is forgotten in {left} s."
        ))
}

fn micros(time: SystemTime) -> i64 {
    i64::try_from(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;

//! A node for the tests of both ends of the API: content in memory, scripted answers.

use std::collections::{BTreeMap, VecDeque};
use std::io::Read;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use ipfs_kit_actors::api::{
    AddEvent, AddOptions, Added, ByteRange, CarImported, CarOptions, CarRoot, Dag, Failure,
    ImportError, ImportSink, ImportSource, Node, OpenFile, Put, PutOptions, VerifyLine, WalkEntry,
    WalkKind,
};
use ipfs_kit_core::id::Cid;
use ipfs_kit_core::ops::{
    ContentInfo, LsPage, LsRequest, Operation, PathRequest, PinsAdd, PinsAddRequest, PinsAdded,
    PinsInfo, PinsStatus, PinsStatusRequest,
};
use ipfs_kit_core::pin::ContentKind;
use serde_json::Value;
use tokio::sync::mpsc;

/// Longer than any test takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3600);
/// Bytes in one chunk of a file: small, so that streams really have several.
const CHUNK_LEN_BYTES: usize = 1000;

/// One entry of the content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    File(Vec<u8>),
    Directory,
    Symlink(String),
}

/// A node that keeps what is added below the name `root`.
#[derive(Default)]
pub(crate) struct FakeNode {
    items: Mutex<BTreeMap<String, Item>>,
    answers: Mutex<BTreeMap<String, VecDeque<Result<Value, Failure>>>>,
    /// Every unary request, in order.
    pub calls: Mutex<Vec<(String, Value)>>,
    /// The options of the last add.
    pub added_with: Mutex<Option<AddOptions>>,
    /// Reading fails after so many bytes.
    pub cat_fails_after: Mutex<Option<usize>>,
    /// Importing fails at this path.
    pub add_fails_at: Mutex<Option<String>>,
}

/// A distinct CID for each path.
pub(crate) fn cid(path: &str) -> Cid {
    let hash = path.bytes().fold(7u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let mut bytes = vec![1, 0x55, 0, 4];
    bytes.extend(hash.to_be_bytes());
    Cid::from_bytes(&bytes).unwrap()
}

pub(crate) fn failure(code: &str) -> Failure {
    Failure {
        code: code.into(),
        message: format!("a test says {code}"),
        hint: None,
        retryable: false,
    }
}

impl FakeNode {
    pub fn put(&self, path: &str, item: Item) {
        self.items.lock().unwrap().insert(path.to_owned(), item);
    }

    pub fn items(&self) -> BTreeMap<String, Item> {
        self.items.lock().unwrap().clone()
    }

    /// Scripts the next answer of an operation; the last one is repeated.
    pub fn answer(&self, name: &str, answer: Result<Value, Failure>) {
        self.answers.lock().unwrap().entry(name.to_owned()).or_default().push_back(answer);
    }

    /// Forgets what was scripted.
    pub fn forget_answers(&self) {
        self.answers.lock().unwrap().clear();
    }

    fn find(&self, path: &str) -> Result<(String, Item), Failure> {
        let items = self.items.lock().unwrap();
        items
            .iter()
            .find(|(name, _)| *name == path || cid(name).to_string() == path)
            .map(|(name, item)| (name.clone(), item.clone()))
            .ok_or_else(|| failure("E_NOT_FOUND"))
    }

    fn info(name: &str, path: &str, item: &Item) -> ContentInfo {
        let (kind, size_bytes, target) = match item {
            Item::File(bytes) => (ContentKind::File, Some(bytes.len() as u64), None),
            Item::Directory => (ContentKind::Directory, None, None),
            Item::Symlink(target) => (ContentKind::Symlink, None, Some(target.clone())),
        };
        ContentInfo { name: name.to_owned(), cid: cid(path), kind, size_bytes, target }
    }

    fn ls(&self, request: LsRequest) -> Result<LsPage, Failure> {
        let (root, _) = self.find(&request.path)?;
        let prefix = format!("{root}/");
        let all: Vec<ContentInfo> = self
            .items()
            .iter()
            .filter_map(|(path, item)| {
                let name = path.strip_prefix(&prefix).filter(|name| !name.contains('/'))?;
                Some(Self::info(name, path, item))
            })
            .collect();
        let (skip, limit) = (request.skip.unwrap_or(0), request.limit.unwrap_or(usize::MAX));
        let next = skip.saturating_add(limit);
        let next = (next < all.len()).then_some(next);
        Ok(LsPage { items: all.into_iter().skip(skip).take(limit).collect(), next })
    }

    fn unary(&self, name: &str, request: Value) -> Result<Value, Failure> {
        self.calls.lock().unwrap().push((name.to_owned(), request.clone()));
        if let Some(answers) = self.answers.lock().unwrap().get_mut(name) {
            let last = answers.len() == 1;
            return if last { answers[0].clone() } else { answers.pop_front().unwrap() };
        }
        match name {
            "ls" => {
                Ok(serde_json::to_value(self.ls(serde_json::from_value(request).unwrap())?)
                    .unwrap())
            }
            "stat" => {
                let PathRequest { path } = serde_json::from_value(request).unwrap();
                let (path, item) = self.find(&path)?;
                Ok(serde_json::to_value(Self::info("", &path, &item)).unwrap())
            }
            _ => Err(failure("E_UNKNOWN_OPERATION")),
        }
    }
}

/// A fake that others hold too.
#[derive(Clone, Default)]
pub(crate) struct Shared(pub Arc<FakeNode>);

impl Shared {
    fn typed<O: Operation>(
        &self,
        request: O::Request,
    ) -> BoxFuture<'static, Result<O::Response, Failure>> {
        let answer = self.0.unary(O::NAME, serde_json::to_value(request).unwrap());
        async move { answer.map(|value| serde_json::from_value(value).unwrap()) }.boxed()
    }
}

impl Node for Shared {
    fn call(&self, name: String, request: Value) -> BoxFuture<'static, Result<Value, Failure>> {
        let answer = self.0.unary(&name, request);
        async move { answer }.boxed()
    }

    fn add_pins(&self, request: PinsAddRequest) -> BoxFuture<'static, Result<PinsAdded, Failure>> {
        self.typed::<PinsAdd>(request)
    }

    fn look_at_pins(
        &self,
        request: PinsStatusRequest,
    ) -> BoxFuture<'static, Result<PinsInfo, Failure>> {
        self.typed::<PinsStatus>(request)
    }

    fn add(
        &self,
        source: Box<dyn ImportSource>,
        options: AddOptions,
        events: mpsc::Sender<AddEvent>,
    ) -> BoxFuture<'static, Result<Added, Failure>> {
        let node = Arc::clone(&self.0);
        *node.added_with.lock().unwrap() = Some(options);
        async move {
            let importer = Importer { node, events, bytes: 0, files: 0 };
            tokio::task::spawn_blocking(move || importer.run(source)).await.unwrap()
        }
        .boxed()
    }

    fn cat(&self, path: String, range: ByteRange) -> BoxFuture<'static, Result<OpenFile, Failure>> {
        let found = self.0.find(&path);
        let fails_after = *self.0.cat_fails_after.lock().unwrap();
        async move {
            let (path, Item::File(bytes)) = found? else { return Err(failure("E_USAGE")) };
            let start = usize::try_from(range.offset).unwrap().min(bytes.len());
            let length = range.length.map_or(usize::MAX, |length| usize::try_from(length).unwrap());
            let end = start.saturating_add(length).min(bytes.len());
            let part = &bytes[start..end];
            let sent = fails_after.map_or(part.len(), |after| after.min(part.len()));
            let mut chunks: Vec<Result<Bytes, Failure>> = part[..sent]
                .chunks(CHUNK_LEN_BYTES)
                .map(|chunk| Ok(Bytes::copy_from_slice(chunk)))
                .collect();
            if sent < part.len() {
                chunks.push(Err(failure("E_NOT_FOUND")));
            }
            let size_bytes = bytes.len() as u64;
            Ok(OpenFile { cid: cid(&path), size_bytes, bytes: stream::iter(chunks).boxed() })
        }
        .boxed()
    }

    fn list(&self, path: String) -> BoxStream<'static, Result<ContentInfo, Failure>> {
        let page = self.0.ls(LsRequest { path, skip: None, limit: None });
        match page {
            Ok(page) => stream::iter(page.items.into_iter().map(Ok)).boxed(),
            Err(failure) => stream::iter([Err(failure)]).boxed(),
        }
    }

    fn walk(&self, path: String) -> BoxStream<'static, Result<WalkEntry, Failure>> {
        let root = match self.0.find(&path) {
            Ok((root, _)) => root,
            Err(failure) => return stream::iter([Err(failure)]).boxed(),
        };
        let prefix = format!("{root}/");
        let entries: Vec<_> = self
            .0
            .items()
            .into_iter()
            .filter(|(path, _)| *path == root || path.starts_with(&prefix))
            .map(|(path, item)| {
                let names = path.strip_prefix(&prefix).unwrap_or_default();
                let kind = match item {
                    Item::File(bytes) => {
                        WalkKind::File { size_bytes: bytes.len() as u64, bytes: None }
                    }
                    Item::Directory => WalkKind::Directory,
                    Item::Symlink(target) => WalkKind::Symlink { target },
                };
                let names = names.split('/').filter(|name| !name.is_empty());
                Ok(WalkEntry { path: names.map(str::to_owned).collect(), kind, cid: cid(&path) })
            })
            .collect();
        stream::iter(entries).boxed()
    }
}

impl Dag for Shared {
    fn export_car(&self, root: Cid) -> BoxStream<'static, Result<Bytes, Failure>> {
        let found = self.0.find(&root.to_string());
        let fails_after = *self.0.cat_fails_after.lock().unwrap();
        let mut chunks = match found {
            Ok((_, Item::File(bytes))) => {
                let sent = fails_after.unwrap_or(bytes.len()).min(bytes.len());
                vec![Ok(Bytes::copy_from_slice(&bytes[..sent]))]
            }
            Ok(_) => vec![Err(failure("E_CODEC"))],
            Err(failure) => vec![Err(failure)],
        };
        if fails_after.is_some() {
            chunks.push(Err(failure("E_NOT_FOUND")));
        }
        stream::iter(chunks).boxed()
    }

    fn import_car(
        &self,
        mut car: Box<dyn Read + Send>,
        options: CarOptions,
        events: mpsc::Sender<AddEvent>,
    ) -> BoxFuture<'static, Result<CarImported, Failure>> {
        let node = Arc::clone(&self.0);
        async move {
            let import = move || {
                let mut bytes = Vec::new();
                car.read_to_end(&mut bytes).map_err(|_| failure("E_READ"))?;
                let event = AddEvent::Blocks { blocks: 1, bytes: bytes.len() as u64 };
                events.blocking_send(event).map_err(|_| failure("E_CANCELLED"))?;
                let len_bytes = bytes.len() as u64;
                node.put("root", Item::File(bytes));
                let pinned = options.pin_roots;
                let root = CarRoot { cid: cid("root"), pinned, copies: 2, index: Some(7) };
                Ok(CarImported { roots: vec![root], blocks: 1, bytes: len_bytes, stored_blocks: 1 })
            };
            tokio::task::spawn_blocking(import).await.unwrap()
        }
        .boxed()
    }

    fn block(&self, cid: Cid) -> BoxFuture<'static, Result<Bytes, Failure>> {
        let found = self.file(&cid.to_string());
        async move { found }.boxed()
    }

    fn value(&self, path: String, codec: String) -> BoxFuture<'static, Result<Bytes, Failure>> {
        let found = self.file(&path).map(|bytes| [codec.as_bytes(), &bytes].concat().into());
        async move { found }.boxed()
    }

    fn put(&self, data: Bytes, options: PutOptions) -> BoxFuture<'static, Result<Put, Failure>> {
        let size_bytes = data.len() as u64;
        self.0.put(&options.codec, Item::File(data.to_vec()));
        let put = Put { cid: cid(&options.codec), size_bytes, pinned: options.pin };
        async move { Ok(put) }.boxed()
    }

    fn verify(&self) -> BoxStream<'static, Result<VerifyLine, Failure>> {
        let damaged = VerifyLine::Damaged { cid: cid("root"), segment: 3, offset: 4096 };
        stream::iter([Ok(damaged), Err(failure("E_STORE"))]).boxed()
    }
}

impl Shared {
    fn file(&self, path: &str) -> Result<Bytes, Failure> {
        match self.0.find(path)? {
            (_, Item::File(bytes)) => Ok(bytes.into()),
            _ => Err(failure("E_CODEC")),
        }
    }
}

struct Importer {
    node: Arc<FakeNode>,
    events: mpsc::Sender<AddEvent>,
    bytes: u64,
    files: u64,
}

impl Importer {
    fn run(mut self, source: Box<dyn ImportSource>) -> Result<Added, Failure> {
        source.drive(&mut self).map_err(|error| Failure {
            code: "E_SOURCE".into(),
            message: error.to_string(),
            hint: None,
            retryable: false,
        })?;
        let (files, bytes) = (self.files, self.bytes);
        let _ = self.events.blocking_send(AddEvent::Imported { root: cid("root"), files, bytes });
        Ok(Added {
            root: cid("root"),
            files,
            directories: 0,
            symlinks: 0,
            bytes,
            blocks: 1,
            copies: 2,
            index: Some(7),
        })
    }

    fn put(&self, path: &[u8], item: Item) -> Result<(), ImportError> {
        let path = String::from_utf8(path.to_vec()).unwrap();
        if self.node.add_fails_at.lock().unwrap().as_ref() == Some(&path) {
            return Err(ImportError::Invalid { path, reason: "a test says so".into() });
        }
        let path = if path.is_empty() { "root".into() } else { format!("root/{path}") };
        self.node.put(&path, item);
        Ok(())
    }
}

impl ImportSink for Importer {
    fn directory(&mut self, path: &[u8]) -> Result<(), ImportError> {
        self.put(path, Item::Directory)
    }

    fn file(&mut self, path: &[u8], bytes: &mut dyn Read) -> Result<(), ImportError> {
        let mut content = Vec::new();
        bytes
            .read_to_end(&mut content)
            .map_err(|source| ImportError::Read { path: "upload".into(), source })?;
        self.files += 1;
        self.bytes += content.len() as u64;
        let event = AddEvent::Progress { files: self.files, bytes: self.bytes };
        self.events.blocking_send(event).map_err(|_| ImportError::Cancelled)?;
        self.put(path, Item::File(content))
    }

    fn symlink(&mut self, path: &[u8], target: &[u8]) -> Result<(), ImportError> {
        self.put(path, Item::Symlink(String::from_utf8(target.to_vec()).unwrap()))
    }
}

/// A served fake with its folder; the server ends with the runtime.
pub(crate) struct Served {
    pub node: Arc<FakeNode>,
    pub folder: tempfile::TempDir,
    pub address: crate::config::ApiAddress,
    _listening: super::handover::Listening,
}

/// Serves a fake on `address`, as a running node does: token and address lie in its folder.
pub(crate) async fn serve_on(make_address: impl FnOnce(&std::path::Path) -> String) -> Served {
    serve_with(make_address, super::MetricsAccess::Token, PATIENCE).await
}

/// The same, with a say about who may read the metrics, and how long clients may say nothing.
pub(crate) async fn serve_with(
    make_address: impl FnOnce(&std::path::Path) -> String,
    access: super::MetricsAccess,
    patience: Duration,
) -> Served {
    use super::handover::Handovers;
    use super::{Exposure, Listener, folder, router};
    let folder = tempfile::tempdir().unwrap();
    let address = make_address(folder.path()).parse().unwrap();
    let listener = Listener::bind(&address, Exposure::Local).await.unwrap();
    let address = listener.address().clone();
    let token = folder::ApiToken::create(&folder.path().join(folder::TOKEN_FILE)).unwrap();
    folder::write_address(folder.path(), &address).unwrap();
    let shared = Shared::default();
    let node = Arc::clone(&shared.0);
    let (handovers, listening) = Handovers::listen(folder.path());
    let router = router(Arc::new(shared), token, access, patience, handovers);
    tokio::spawn(super::serve(listener, router, std::future::pending()));
    Served { node, folder, address, _listening: listening }
}

/// Serves a fake on a loopback port.
pub(crate) async fn serve() -> Served {
    serve_on(|_| "127.0.0.1:0".to_owned()).await
}

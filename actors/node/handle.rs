//! The handle that interfaces hold.

use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{self, BoxStream, StreamExt};
use ipfs_kit_core::id::Cid;
use ipfs_kit_core::ops::{ContentInfo, PinsAddRequest, PinsAdded, PinsInfo, PinsStatusRequest};
use tokio::sync::mpsc;

use crate::api::{
    self, AddEvent, AddOptions, Added, ByteRange, CarImported, CarOptions, Failure, ImportSource,
    OpenFile, Put, PutOptions, VerifyLine,
};
use crate::operations::Operations;

/// A handle on a node's operations.
pub(super) fn node(operations: Arc<Operations>) -> Arc<dyn api::Node> {
    Arc::new(Handle(operations))
}

struct Handle(Arc<Operations>);

impl api::Node for Handle {
    fn call(
        &self,
        name: String,
        request: serde_json::Value,
    ) -> BoxFuture<'static, Result<serde_json::Value, Failure>> {
        let operations = Arc::clone(&self.0);
        Box::pin(async move { operations.call(&name, request).await })
    }

    fn add_pins(&self, request: PinsAddRequest) -> BoxFuture<'static, Result<PinsAdded, Failure>> {
        let operations = Arc::clone(&self.0);
        Box::pin(async move { operations.add_pins(request).await })
    }

    fn look_at_pins(
        &self,
        request: PinsStatusRequest,
    ) -> BoxFuture<'static, Result<PinsInfo, Failure>> {
        let operations = Arc::clone(&self.0);
        Box::pin(async move { operations.look_at_pins(request).await })
    }

    fn add(
        &self,
        source: Box<dyn ImportSource>,
        options: AddOptions,
        events: mpsc::Sender<AddEvent>,
    ) -> BoxFuture<'static, Result<Added, Failure>> {
        let operations = Arc::clone(&self.0);
        Box::pin(async move { operations.add(source, options, events).await })
    }

    fn cat(&self, path: String, range: ByteRange) -> BoxFuture<'static, Result<OpenFile, Failure>> {
        let operations = Arc::clone(&self.0);
        Box::pin(async move { operations.open_file(&path, range).await })
    }

    fn walk(&self, path: String) -> BoxStream<'static, Result<api::WalkEntry, Failure>> {
        let operations = Arc::clone(&self.0);
        opened(async move { operations.walk_tree(&path).await })
    }

    fn list(&self, path: String) -> BoxStream<'static, Result<ContentInfo, Failure>> {
        let operations = Arc::clone(&self.0);
        opened(async move { operations.list_directory(&path).await })
    }
}

/// A stream that opens when it is first asked; a failure to open is its only item.
fn opened<T: Send + 'static>(
    opening: impl Future<Output = Result<BoxStream<'static, Result<T, Failure>>, Failure>>
    + Send
    + 'static,
) -> BoxStream<'static, Result<T, Failure>> {
    let opening = opening.map(|opened| match opened {
        Ok(items) => items,
        Err(failure) => stream::iter([Err(failure)]).boxed(),
    });
    stream::once(opening).flatten().boxed()
}

impl api::Dag for Handle {
    fn export_car(&self, root: Cid) -> BoxStream<'static, Result<Bytes, Failure>> {
        let operations = Arc::clone(&self.0);
        stream::once(async move { operations.export_car(root).await }).flatten().boxed()
    }

    fn import_car(
        &self,
        car: Box<dyn Read + Send>,
        options: CarOptions,
        events: mpsc::Sender<AddEvent>,
    ) -> BoxFuture<'static, Result<CarImported, Failure>> {
        let operations = Arc::clone(&self.0);
        Box::pin(async move { operations.import_car(car, options, events).await })
    }

    fn block(&self, cid: Cid) -> BoxFuture<'static, Result<Bytes, Failure>> {
        let operations = Arc::clone(&self.0);
        Box::pin(async move { operations.block(cid).await })
    }

    fn value(&self, path: String, codec: String) -> BoxFuture<'static, Result<Bytes, Failure>> {
        let operations = Arc::clone(&self.0);
        Box::pin(async move { operations.value(&path, &codec).await })
    }

    fn put(&self, data: Bytes, options: PutOptions) -> BoxFuture<'static, Result<Put, Failure>> {
        let operations = Arc::clone(&self.0);
        Box::pin(async move { operations.put(data, options).await })
    }

    fn verify(&self) -> BoxStream<'static, Result<VerifyLine, Failure>> {
        self.0.verify()
    }
}

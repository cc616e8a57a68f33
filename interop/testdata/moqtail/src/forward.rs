//! Subscribes to tracks at one server and publishes them at another, with their properties.

use crate::publish::{offer, tell};
use crate::read;
use crate::session::Session;
use anyhow::{Result, bail};
use moqtail::model::control::control_message::ControlMessage;
use moqtail::model::control::request_ok::RequestOk;
use moqtail::model::data::constant::ObjectStatus;
use moqtail::model::data::fetch_object::EndOfRangeKind;
use moqtail::model::data::object::Object;
use moqtail::model::data::subgroup_header::SubgroupHeader;
use moqtail::transport::connection::{TransportConnection, TransportRecvStream};
use moqtail::transport::control_stream_handler::ControlStreamHandler;
use moqtail::transport::data_stream_handler::{DataStreamItem, HeaderInfo, RecvDataStream, SendDataStream};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::Mutex;

/// The alias at the other side, by request id (of fills) and by alias.
#[derive(Default)]
struct Aliases {
    requests: HashMap<u64, u64>,
    aliases: HashMap<u64, u64>,
}

pub async fn run(from: Session, to: Arc<Session>, namespace: &str, tracks: &[&str]) -> Result<()> {
    let mut known = Aliases::default();
    for (alias, track) in (1..).zip(tracks) {
        let published = offer(&to, namespace, track, alias).await?;
        let (id, theirs, subscribed) = read::begin(&from, namespace, track).await?;
        known.requests.insert(id, alias);
        known.aliases.insert(theirs, alias);
        for stream in [published, subscribed] {
            tokio::spawn(keep(stream));
        }
    }
    let known = Arc::new(known);
    loop {
        let stream = from.connection.accept_uni().await?;
        let (known, to) = (known.clone(), to.connection.clone());
        tokio::spawn(async move {
            if let Err(e) = pass(stream, &known, &to).await {
                eprintln!("{e}");
            }
        });
    }
}

/// Answers the updates of a request.
async fn keep(mut stream: ControlStreamHandler) {
    while let Ok(m) = stream.next_message().await {
        eprintln!("{m:?}");
        if let ControlMessage::RequestUpdate(_) = m {
            let _ = tell(&mut stream, ControlMessage::RequestOk(Box::new(RequestOk::new(vec![])))).await;
        }
    }
}

async fn pass(stream: TransportRecvStream, known: &Aliases, to: &TransportConnection) -> Result<()> {
    let from = read::accept(stream);
    let Some(first) = read::next(&from).await else { return Ok(()) };
    match from.get_header_info().await {
        Some(HeaderInfo::Subgroup { header }) => {
            let Some(alias) = known.aliases.get(&header.track_alias) else { bail!("alias {}", header.track_alias) };
            pass_subgroup(first, from, SubgroupHeader { track_alias: *alias, ..header }, to).await
        }
        Some(HeaderInfo::Fetch { header, .. }) => {
            let Some(alias) = known.requests.get(&header.request_id) else { bail!("request {}", header.request_id) };
            pass_fill(first, from, *alias, to).await
        }
        None => bail!("a stream has no header"),
    }
}

async fn pass_subgroup(first: DataStreamItem, from: RecvDataStream, header: SubgroupHeader, to: &TransportConnection) -> Result<()> {
    let mut out = Out::open(to, header).await?;
    let mut next = Some(first);
    while let Some(item) = next {
        if let DataStreamItem::Object(o) = item {
            out.object(&o).await?;
        }
        next = read::next(&from).await;
    }
    if from.was_aborted() {
        bail!("a stream of group {} was not whole", header.group_id);
    }
    out.end(None).await
}

async fn pass_fill(first: DataStreamItem, from: RecvDataStream, alias: u64, to: &TransportConnection) -> Result<()> {
    let (mut group, mut unknown): (Option<(Out, Object)>, bool) = (None, false);
    let mut next = Some(first);
    while let Some(item) = next {
        match item {
            DataStreamItem::Object(o) => {
                if let Some((out, last)) = group.take_if(|(_, last)| last.location.group != o.location.group) {
                    // What a fill leaves out does not exist: this group has ended.
                    out.end(if unknown { None } else { Some(last) }).await?;
                }
                if group.is_none() {
                    let (id, subgroup) = (o.location.group, o.subgroup_id.unwrap_or(0));
                    let whole = o.location.object == 0;
                    let header = SubgroupHeader::new_with_explicit_id(alias, id, subgroup, Some(o.publisher_priority), true, false, whole);
                    group = Some((Out::open(to, header).await?, o.clone()));
                }
                if let Some((out, last)) = &mut group {
                    out.object(&o).await?;
                    *last = o;
                }
                unknown = false;
            }
            DataStreamItem::EndOfRange { kind, location } => {
                eprintln!("fill: {kind:?} up to {location:?}");
                unknown |= kind != EndOfRangeKind::NonExistent;
            }
        }
        next = read::next(&from).await;
    }
    if from.was_aborted() {
        bail!("a fill was not whole");
    }
    match group {
        Some((out, _)) => out.end(None).await, // it may go on
        None => Ok(()),
    }
}

/// A subgroup stream that is written.
struct Out {
    stream: SendDataStream,
    previous: Option<u64>,
}

impl Out {
    async fn open(to: &TransportConnection, header: SubgroupHeader) -> Result<Self> {
        let raw = Arc::new(Mutex::new(to.open_uni().await?));
        Ok(Self { stream: SendDataStream::new(raw, HeaderInfo::Subgroup { header }).await?, previous: None })
    }

    async fn object(&mut self, o: &Object) -> Result<()> {
        self.stream.send_object(o, self.previous).await?;
        self.previous = Some(o.location.object);
        Ok(())
    }

    /// Ends the stream, and the group if its last object is given.
    async fn end(mut self, last: Option<Object>) -> Result<()> {
        if let Some(last) = last {
            let mut end = Object { status: ObjectStatus::EndOfGroup, payload: None, properties: Some(vec![]), ..last };
            end.location.object += 1;
            self.object(&end).await?;
        }
        Ok(self.stream.finish().await?)
    }
}

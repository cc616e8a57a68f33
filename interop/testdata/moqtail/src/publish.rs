//! Publishes a track that is a pure function of its locations.

use crate::session::Session;
use anyhow::{Result, anyhow, bail};
use bytes::Bytes;
use moqtail::model::common::location::Location;
use moqtail::model::common::reason_phrase::ReasonPhrase;
use moqtail::model::common::tuple::{Tuple, TupleField};
use moqtail::model::control::control_message::ControlMessage;
use moqtail::model::control::fetch_ok::FetchOk;
use moqtail::model::control::publish::Publish;
use moqtail::model::control::publish_namespace::PublishNamespace;
use moqtail::model::control::request_error::RequestError;
use moqtail::model::control::request_ok::RequestOk;
use moqtail::model::control::subscribe::Subscribe;
use moqtail::model::control::subscribe_ok::SubscribeOk;
use moqtail::model::data::constant::{ObjectForwardingPreference, ObjectStatus};
use moqtail::model::data::fetch_header::FetchHeader;
use moqtail::model::data::object::Object;
use moqtail::model::data::subgroup_header::SubgroupHeader;
use moqtail::model::error::RequestErrorCode;
use moqtail::model::parameter::location_filter::LocationFilter;
use moqtail::model::parameter::message_parameter::MessageParameter;
use moqtail::transport::connection::TransportConnection;
use moqtail::transport::control_stream_handler::ControlStreamHandler;
use moqtail::transport::data_stream_handler::{HeaderInfo, SendDataStream};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, watch};

const OBJECTS: u64 = 5; // of a group, before its end

fn object(group: u64, id: u64) -> Object {
    let size = if id == 2 { 16000 } else { 400 + id as usize };
    Object {
        track_alias: 0,
        location: Location::new(group, id),
        publisher_priority: 128,
        forwarding_preference: ObjectForwardingPreference::Subgroup,
        subgroup_id: Some(0),
        status: if id == OBJECTS { ObjectStatus::EndOfGroup } else { ObjectStatus::Normal },
        properties: Some(vec![]),
        payload: (id < OBJECTS).then(|| Bytes::from(format!("{group}/{id} ").repeat(size))),
    }
}

/// Counts the groups that there are: a new one every 50 ms.
fn clock() -> watch::Receiver<u64> {
    let (send, groups) = watch::channel(1);
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        while !send.is_closed() {
            tick.tick().await;
            send.send_modify(|n| *n += 1);
        }
    });
    groups
}

fn largest(groups: u64) -> Location {
    Location::new(groups - 1, OBJECTS)
}

/// Announces a namespace and answers what is asked about its track.
pub async fn announce(session: Session, namespace: &str, track: &str) -> Result<()> {
    let message = PublishNamespace::new(session.id(), Tuple::from_utf8_path(namespace), &[]);
    let (_stream, answer) = session.request(ControlMessage::PublishNamespace(Box::new(message))).await?;
    eprintln!("{answer:?}");
    let (groups, name) = (clock(), TupleField::from_utf8(track));
    loop {
        let (send, recv) = session.connection.accept_bi().await?;
        let mut stream = ControlStreamHandler::new(send, recv);
        let (connection, groups, name) = (session.connection.clone(), groups.clone(), name.clone());
        tokio::spawn(async move {
            if let Err(e) = serve(&mut stream, &connection, groups, &name).await {
                eprintln!("{e}");
            }
            stream.finish().await;
        });
    }
}

async fn serve(stream: &mut ControlStreamHandler, to: &TransportConnection, groups: watch::Receiver<u64>, name: &TupleField) -> Result<()> {
    let message = stream.next_message().await.map_err(|e| anyhow!("{e:?}"))?;
    eprintln!("{message:?}");
    let now = largest(*groups.borrow());
    let told = vec![MessageParameter::new_largest_object(now.clone())];
    match message {
        ControlMessage::Subscribe(m) if m.track_name == *name => {
            tell(stream, ControlMessage::SubscribeOk(Box::new(SubscribeOk::new(m.request_id, told, vec![])))).await?;
            fill(to, &m, now.clone()).await?;
            live(stream, to, m.request_id, groups, now.group + 1).await
        }
        ControlMessage::Fetch(m) if m.track_name == *name => {
            let Some((start, end)) = m.get_location_filter().fetch_range(Some(now)) else {
                return refuse(stream, RequestErrorCode::InvalidRange).await;
            };
            tell(stream, ControlMessage::FetchOk(Box::new(FetchOk::new(false, end.clone(), vec![], vec![])))).await?;
            send_range(to, m.request_id, start, end).await
        }
        ControlMessage::TrackStatus(m) if m.track_name == *name => {
            tell(stream, ControlMessage::RequestOk(Box::new(RequestOk::new_track_status(told, vec![])))).await
        }
        _ => refuse(stream, RequestErrorCode::DoesNotExist).await,
    }
}

pub async fn tell(stream: &mut ControlStreamHandler, message: ControlMessage) -> Result<()> {
    stream.send(&message).await.map_err(|e| anyhow!("{:?}: {e:?}", message.get_type()))
}

async fn refuse(stream: &mut ControlStreamHandler, code: RequestErrorCode) -> Result<()> {
    let reason = ReasonPhrase::try_new("no".into()).map_err(|e| anyhow!("{e:?}"))?;
    tell(stream, ControlMessage::RequestError(Box::new(RequestError::new(code, 0, reason)))).await
}

/// Sends what came before a subscription, if it asks for that.
async fn fill(to: &TransportConnection, m: &Subscribe, now: Location) -> Result<()> {
    let Some(wanted) = m.subscribe_parameters.iter().find_map(|p| match p {
        MessageParameter::FillParameters { parameters } => Some(parameters),
        _ => None,
    }) else {
        return Ok(());
    };
    let filter = wanted.iter().find_map(|p| match p {
        MessageParameter::LocationFilter { filter } => Some(filter),
        _ => None,
    });
    let filter = filter.or(m.get_location_filter()).unwrap_or(&LocationFilter::None);
    match filter.fetch_range(Some(now)) {
        Some((start, end)) => send_range(to, m.request_id, start, end).await,
        None => Ok(()),
    }
}

async fn send_range(to: &TransportConnection, request_id: u64, start: Location, end: Location) -> Result<()> {
    let raw = Arc::new(Mutex::new(to.open_uni().await?));
    let header = HeaderInfo::Fetch { header: FetchHeader::new(request_id), fetch_request: None };
    let mut stream = SendDataStream::new(raw, header).await?;
    for group in start.group..=end.group {
        for id in 0..OBJECTS {
            let o = object(group, id);
            if start <= o.location && o.location <= end {
                stream.send_object(&o, None).await?;
            }
        }
    }
    Ok(stream.finish().await?)
}

/// Sends the groups that come from now on, as long as the request lasts and while it wants them.
async fn live(
    stream: &mut ControlStreamHandler,
    to: &TransportConnection,
    alias: u64,
    mut groups: watch::Receiver<u64>,
    mut next: u64,
) -> Result<()> {
    let mut forward = true;
    loop {
        tokio::select! {
            m = stream.next_message() => match m {
                Ok(ControlMessage::RequestUpdate(m)) => {
                    eprintln!("{m:?}");
                    for p in &m.parameters {
                        if let MessageParameter::Forward { forward: f } = p { forward = *f }
                    }
                    tell(stream, ControlMessage::RequestOk(Box::new(RequestOk::new(vec![])))).await?;
                }
                Ok(m) => bail!("{m:?}"),
                Err(_) => return Ok(()), // it is over
            },
            r = groups.changed() => {
                r?;
                let all = *groups.borrow();
                for group in next..all {
                    if forward { send_group(to, alias, group).await? }
                }
                next = all;
            }
        }
    }
}

async fn send_group(to: &TransportConnection, alias: u64, group: u64) -> Result<()> {
    let raw = Arc::new(Mutex::new(to.open_uni().await?));
    let header = SubgroupHeader::new_fixed_zero_id(alias, group, Some(128), true, group % 2 == 0, true);
    let mut stream = SendDataStream::new(raw, HeaderInfo::Subgroup { header }).await?;
    for id in 0..OBJECTS + group % 2 {
        // an even group ends with its stream, an odd one with an object
        stream.send_object(&object(group, id), id.checked_sub(1)).await?;
    }
    Ok(stream.finish().await?)
}

/// Publishes a track without being asked.
pub async fn push(session: Session, namespace: &str, track: &str) -> Result<()> {
    let mut stream = offer(&session, namespace, track, 7).await?;
    live(&mut stream, &session.connection, 7, clock(), 0).await
}

/// Sends PUBLISH.
pub async fn offer(session: &Session, namespace: &str, track: &str, alias: u64) -> Result<ControlStreamHandler> {
    let message = Publish::new(
        session.id(),
        Tuple::from_utf8_path(namespace),
        TupleField::from_utf8(track),
        alias,
        vec![MessageParameter::new_forward(true)],
        vec![],
    );
    match session.request(ControlMessage::Publish(Box::new(message))).await? {
        (stream, ControlMessage::RequestOk(_)) => Ok(stream),
        (_, m) => bail!("PUBLISH was answered by {m:?}"),
    }
}

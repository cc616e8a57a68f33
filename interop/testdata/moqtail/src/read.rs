//! Subscribes and fetches.

use crate::session::Session;
use anyhow::{Result, anyhow, bail};
use moqtail::model::common::location::Location;
use moqtail::model::common::tuple::{Tuple, TupleField};
use moqtail::model::control::control_message::ControlMessage;
use moqtail::model::control::fetch::Fetch;
use moqtail::model::control::subscribe::Subscribe;
use moqtail::model::data::object::Object;
use moqtail::model::parameter::location_filter::LocationFilter;
use moqtail::model::parameter::message_parameter::MessageParameter;
use moqtail::transport::connection::TransportRecvStream;
use moqtail::transport::control_stream_handler::ControlStreamHandler;
use moqtail::transport::data_stream_handler::{DataStreamItem, RecvDataStream};
use std::io::Write;
use std::time::Duration;
use tokio::time::timeout;

pub async fn subscribe(session: Session, namespace: &str, track: &str) -> Result<()> {
    let (_, _, mut stream) = begin(&session, namespace, track).await?;
    let printing = print_all(&session);
    tokio::pin!(printing);
    loop {
        tokio::select! {
            r = &mut printing => return r,
            m = stream.next_message() => match m {
                Ok(m) => eprintln!("{m:?}"),
                Err(_) => return printing.await,
            },
        }
    }
}

/// Begins a subscription to what comes next, with a fill of what was; returns its request id, its alias and its stream.
pub async fn begin(session: &Session, namespace: &str, track: &str) -> Result<(u64, u64, ControlStreamHandler)> {
    let id = session.id();
    let all = LocationFilter::AbsoluteStart { start: Location::new(0, 0) };
    let fill = MessageParameter::new_fill_parameters(vec![MessageParameter::new_location_filter(all)]);
    let message = Subscribe::new_with_location_filter(
        id,
        Tuple::from_utf8_path(namespace),
        TupleField::from_utf8(track),
        LocationFilter::NextObject,
        vec![fill],
    );
    match session.request(ControlMessage::Subscribe(Box::new(message))).await? {
        (stream, ControlMessage::SubscribeOk(m)) => Ok((id, m.track_alias, stream)),
        (_, m) => bail!("SUBSCRIBE was answered by {m:?}"),
    }
}

pub async fn fetch(session: Session, namespace: &str, track: &str) -> Result<()> {
    let message = Fetch::new(session.id(), Tuple::from_utf8_path(namespace), TupleField::from_utf8(track), vec![]);
    let (_stream, answer) = session.request(ControlMessage::Fetch(Box::new(message))).await?;
    let ControlMessage::FetchOk(ok) = answer else { bail!("FETCH was answered by {answer:?}") };
    eprintln!("{ok:?}");
    print(accept(session.connection.accept_uni().await?)).await?;
    std::future::pending().await
}

pub fn accept(stream: TransportRecvStream) -> RecvDataStream {
    RecvDataStream::new(stream, Default::default())
}

/// The next item. `RecvDataStream::next_item` of 0.17.0 may miss that one came, and waits until another one does: it is asked again.
pub async fn next(stream: &RecvDataStream) -> Option<DataStreamItem> {
    loop {
        if let Ok((_, item)) = timeout(Duration::from_millis(50), stream.next_item()).await {
            return item;
        }
    }
}

async fn print_all(session: &Session) -> Result<()> {
    loop {
        let stream = accept(session.connection.accept_uni().await?);
        tokio::spawn(async move {
            if let Err(e) = print(stream).await {
                eprintln!("{e}");
            }
        });
    }
}

async fn print(stream: RecvDataStream) -> Result<()> {
    while let Some(item) = next(&stream).await {
        match item {
            DataStreamItem::Object(o) => line(&o)?,
            DataStreamItem::EndOfRange { kind, location } => eprintln!("{kind:?} up to {location:?}"),
        }
    }
    if stream.was_aborted() {
        return Err(anyhow!("a stream was not whole: {:?}", stream.get_header_info().await));
    }
    Ok(())
}

fn line(o: &Object) -> Result<()> {
    let hex: String = o.payload.iter().flatten().map(|b| format!("{b:02x}")).collect();
    let (group, object, status) = (o.location.group, o.location.object, o.status as u64);
    let mut out = std::io::stdout().lock();
    writeln!(out, "{{\"group\":{group},\"object\":{object},\"status\":{status},\"payload\":\"{hex}\"}}")?;
    Ok(out.flush()?)
}

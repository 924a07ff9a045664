// SPDX-License-Identifier: GPL-2.0-or-later
//! Presentations and answers on a stream: each is all that its side sends, so the end of the stream is its end.

use std::io;

use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use libp2p::StreamProtocol;
use libp2p::request_response::{self, ProtocolSupport};

use crate::admit::Answer;
use crate::shell::{limits, names};

/// The protocol.
pub(in crate::shell::node) const ADMIT_PROTOCOL: StreamProtocol = StreamProtocol::new(names::ADMISSION);

/// Reads and writes it.
#[derive(Debug, Clone, Default)]
pub(in crate::shell) struct Codec;

/// The protocol with our bounds.
pub(in crate::shell) fn behaviour() -> request_response::Behaviour<Codec> {
    let config = request_response::Config::default()
        .with_request_timeout(limits::PRESENTATION_TIME)
        .with_max_concurrent_streams(limits::PRESENTATION_STREAMS);
    request_response::Behaviour::new([(ADMIT_PROTOCOL, ProtocolSupport::Full)], config)
}

/// All that comes, if it is not more than the message may have: one octet more is read, and refused with the rest.
async fn read<T>(io: &mut T, limit: usize) -> io::Result<Vec<u8>>
where
    T: AsyncRead + Unpin + Send,
{
    let mut bytes = Vec::new();
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    io.take(limit.saturating_add(1)).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

impl request_response::Codec for Codec {
    type Protocol = StreamProtocol;
    /// Octets: what cannot be read is to be counted and answered as well.
    type Request = Vec<u8>;
    type Response = Answer;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        read(io, crate::limits::PRESENTATION).await
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Answer>
    where
        T: AsyncRead + Unpin + Send,
    {
        let bytes = read(io, Answer::SIZE).await?;
        Answer::decode(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    async fn write_request<T>(&mut self, _: &StreamProtocol, io: &mut T, presentation: Vec<u8>) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        io.write_all(&presentation).await
    }

    async fn write_response<T>(&mut self, _: &StreamProtocol, io: &mut T, answer: Answer) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        io.write_all(&answer.encode()).await
    }
}

//! As much of PostgreSQL's protocol as it takes to tell one message from the next. Knows nothing of what they mean to cursus.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// The codes of the messages that have no type.
const SSL_REQUEST: [u8; 4] = 80_877_103_u32.to_be_bytes();

/// A message as it was received. The first one of a client has the type 0.
pub(crate) struct Message {
    pub(crate) kind: u8,
    pub(crate) bytes: Vec<u8>,
}

impl Message {
    /// The next message; none at the end of the stream.
    pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Self> {
        let mut head = [0; 5];
        stream.read_exact(&mut head).await.ok()?;
        Self::rest(
            stream,
            head[0],
            head.to_vec(),
            [head[1], head[2], head[3], head[4]],
        )
        .await
        .ok()
    }

    /// The first message of a client.
    pub(crate) async fn first(stream: &mut (impl AsyncRead + Unpin)) -> Option<Self> {
        let mut length = [0; 4];
        stream.read_exact(&mut length).await.ok()?;
        Self::rest(stream, 0, length.to_vec(), length).await.ok()
    }

    async fn rest(
        stream: &mut (impl AsyncRead + Unpin),
        kind: u8,
        mut bytes: Vec<u8>,
        length: [u8; 4],
    ) -> io::Result<Self> {
        let head = bytes.len();
        let body = usize::try_from(u32::from_be_bytes(length)).unwrap() - 4;
        bytes.resize(head + body, 0);
        stream.read_exact(&mut bytes[head..]).await?;
        Ok(Self { kind, bytes })
    }

    /// A message of a server's.
    pub(crate) fn new(kind: u8, body: &[u8]) -> Self {
        let length = u32::try_from(body.len() + 4).unwrap();
        let mut bytes = vec![kind];
        bytes.extend(length.to_be_bytes());
        bytes.extend(body);
        Self { kind, bytes }
    }

    /// A server's refusal, such as 57P03.
    pub(crate) fn refusal(sqlstate: &str) -> Self {
        let fields = format!("SFATAL\0VFATAL\0C{sqlstate}\0Mnot now\0\0");
        Self::new(b'E', fields.as_bytes())
    }

    /// Whether a client asks for encryption.
    pub(crate) fn asks_for_tls(&self) -> bool {
        self.kind == 0 && self.bytes[4..] == SSL_REQUEST
    }

    /// Whether the server answers it with its `ReadyForQuery`.
    pub(crate) fn is_answered(&self) -> bool {
        matches!(self.kind, 0 | b'Q' | b'S')
    }

    /// Whether it holds this text.
    pub(crate) fn holds(&self, text: &str) -> bool {
        self.bytes
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    }

    /// Whether it is the statement that ends a transaction well.
    pub(crate) fn is_commit(&self) -> bool {
        self.kind == b'Q' && self.bytes[5..].starts_with(b"COMMIT")
    }
}

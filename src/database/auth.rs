//! How a server may ask for the password: `require_auth` of libpq, and no clear text or MD5 in the open unless it says so.
//!
//! The driver answers whatever it is asked. So the stream under it is watched until the server has let us in, and broken where a
//! question goes out of bounds, before the driver has seen it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};

/// The request for encryption: length and code, as the protocol has them.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
/// Type, length and the code of an authentication message.
const HEAD: usize = 9;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// The server asks for nothing.
    None,
    Password,
    /// A hash of it from which it can be had, or which is as good.
    Md5,
    /// The password is proved without being sent.
    Scram,
    Gss,
    Sspi,
    Oauth,
}

impl Method {
    const ALL: [Self; 7] = [
        Self::None,
        Self::Password,
        Self::Md5,
        Self::Scram,
        Self::Gss,
        Self::Sspi,
        Self::Oauth,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Password => "password",
            Self::Md5 => "md5",
            Self::Scram => "scram-sha-256",
            Self::Gss => "gss",
            Self::Sspi => "sspi",
            Self::Oauth => "oauth",
        }
    }

    /// Whether who reads along has the password, or can find it or use what was sent.
    fn tells_the_password(self) -> bool {
        matches!(self, Self::Password | Self::Md5)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Allowed {
    only: Option<Vec<Method>>,
    never: Vec<Method>,
}

impl Allowed {
    /// Reads it: methods with commas between them, or with a `!` before each of them. None if it is malformed.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut allowed = Self::default();
        let (mut named, mut excluded) = (Vec::new(), Vec::new());
        for part in text.split(',').map(str::trim) {
            let (list, name) = match part.strip_prefix('!') {
                Some(name) => (&mut excluded, name),
                None => (&mut named, part),
            };
            list.push(*Method::ALL.iter().find(|method| method.name() == name)?);
        }
        match (named.is_empty(), excluded.is_empty()) {
            (false, true) => allowed.only = Some(named),
            (true, false) => allowed.never = excluded,
            _ => return None,
        }
        Some(allowed)
    }

    /// Whether a server may ask like this.
    fn allows(&self, method: Method, is_encrypted: bool) -> bool {
        match &self.only {
            Some(only) => only.contains(&method),
            None => !self.never.contains(&method) && (is_encrypted || !method.tells_the_password()),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("the server asks for {}", method.name())]
    Method {
        method: Method,
        /// Encrypted, it would have been answered.
        in_the_open: bool,
    },
    #[error("the server sends what is no message")]
    Protocol,
    #[error("server does not support TLS")]
    NoTls,
    #[error("the network failed before the connection was encrypted")]
    Network(#[source] io::Error),
}

/// Negotiates encryption, and watches the stream that comes of it. The driver leaves both to this
/// (`sslmode=require`, `sslnegotiation=direct`), or it would hand out an unencrypted stream that is not watched.
#[derive(Clone)]
pub(super) struct Connector<T> {
    pub(super) inner: T,
    pub(super) mode: SslMode,
    /// The server expects encryption at once and is not asked for it.
    pub(super) is_direct: bool,
    pub(super) allowed: Allowed,
}

impl<S, T> MakeTlsConnect<S> for Connector<T>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: MakeTlsConnect<S>,
    T::TlsConnect: Send + 'static,
    <T::TlsConnect as TlsConnect<S>>::Future: Send,
{
    type Stream = Watched<S, T::Stream>;
    type TlsConnect = Connector<T::TlsConnect>;
    type Error = T::Error;

    fn make_tls_connect(&mut self, host: &str) -> Result<Self::TlsConnect, Self::Error> {
        Ok(Connector {
            inner: self.inner.make_tls_connect(host)?,
            mode: self.mode,
            is_direct: self.is_direct,
            allowed: self.allowed.clone(),
        })
    }
}

impl<S, T> TlsConnect<S> for Connector<T>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: TlsConnect<S> + Send + 'static,
    T::Future: Send,
{
    type Stream = Watched<S, T::Stream>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Stream, Self::Error>> + Send>>;

    fn connect(self, mut stream: S) -> Self::Future {
        Box::pin(async move {
            let is_encrypted = match self.mode {
                SslMode::Disable => false,
                _ if self.is_direct => true,
                mode => {
                    let takes = asks(&mut stream).await.map_err(Broken::Network)?;
                    if !takes && mode == SslMode::Require {
                        return Err(Broken::NoTls.into());
                    }
                    takes
                }
            };
            let stream = if is_encrypted {
                Either::Encrypted(self.inner.connect(stream).await.map_err(Into::into)?)
            } else {
                Either::Plain(stream)
            };
            Ok(Watched {
                stream,
                watch: Some(Watch::new(self.allowed, is_encrypted)),
            })
        })
    }
}

/// Whether the server takes the offer to encrypt.
async fn asks(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<bool> {
    stream.write_all(&SSL_REQUEST).await?;
    stream.flush().await?;
    let mut answer = [0];
    stream.read_exact(&mut answer).await?;
    Ok(answer == *b"S")
}

enum Either<S, T> {
    Plain(S),
    Encrypted(T),
}

/// A stream, watched until the server has let us in.
pub(super) struct Watched<S, T> {
    stream: Either<S, T>,
    watch: Option<Watch>,
}

impl<S, T> AsyncRead for Watched<S, T>
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = match &mut self.stream {
            Either::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Either::Encrypted(stream) => Pin::new(stream).poll_read(context, buffer),
        };
        ready!(read)?;
        if let Some(watch) = &mut self.watch {
            match watch.see(&buffer.filled()[before..]) {
                Ok(false) => {}
                Ok(true) => self.watch = None,
                Err(broken) => {
                    buffer.set_filled(before);
                    return Poll::Ready(Err(io::Error::new(
                        io::ErrorKind::PermissionDenied,
                        broken,
                    )));
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S, T> AsyncWrite for Watched<S, T>
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Either::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Either::Encrypted(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Either::Plain(stream) => Pin::new(stream).poll_flush(context),
            Either::Encrypted(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Either::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Either::Encrypted(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

impl<S, T> TlsStream for Watched<S, T>
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: TlsStream + Unpin,
{
    fn channel_binding(&self) -> ChannelBinding {
        match &self.stream {
            Either::Plain(_) => ChannelBinding::none(),
            Either::Encrypted(stream) => stream.channel_binding(),
        }
    }
}

/// The position in the server's messages, until authentication is done.
#[derive(Debug)]
struct Watch {
    allowed: Allowed,
    is_encrypted: bool,
    /// What came of the next message's head.
    head: Vec<u8>,
    /// What is still to come of the message before it.
    rest: usize,
    /// The server has asked for something.
    is_asked: bool,
}

impl Watch {
    fn new(allowed: Allowed, is_encrypted: bool) -> Self {
        Self {
            allowed,
            is_encrypted,
            head: Vec::with_capacity(HEAD),
            rest: 0,
            is_asked: false,
        }
    }

    /// Looks at what has come; whether the server has let us in.
    fn see(&mut self, mut bytes: &[u8]) -> Result<bool, Broken> {
        while !bytes.is_empty() {
            if self.rest > 0 {
                let passed = self.rest.min(bytes.len());
                bytes = &bytes[passed..];
                self.rest -= passed;
                continue;
            }
            self.head.push(bytes[0]);
            bytes = &bytes[1..];
            let [kind, a, b, c, d, code @ ..] = &self.head[..] else {
                continue;
            };
            let length = u32::from_be_bytes([*a, *b, *c, *d]);
            let body = usize::try_from(length)
                .ok()
                .and_then(|length| length.checked_sub(4))
                .ok_or(Broken::Protocol)?;
            let code = match (*kind, code) {
                (b'R', [a, b, c, d]) => Some(u32::from_be_bytes([*a, *b, *c, *d])),
                (b'R', _) if body < 4 => return Err(Broken::Protocol),
                (b'R', _) => continue,
                _ => None,
            };
            if let Some(code) = code
                && self.is_let_in(code)?
            {
                return Ok(true);
            }
            self.rest = body - self.head.len().saturating_sub(5);
            self.head.clear();
        }
        Ok(false)
    }

    /// Whether an authentication message is the end of it.
    fn is_let_in(&mut self, code: u32) -> Result<bool, Broken> {
        let method = match code {
            0 if self.is_asked => return Ok(true),
            0 => Method::None,
            3 => Method::Password,
            5 => Method::Md5,
            7 => Method::Gss,
            9 => Method::Sspi,
            10 => Method::Scram,
            // The other halves of what was begun, and what the driver refuses.
            _ => return Ok(false),
        };
        self.is_asked = true;
        if self.allowed.allows(method, self.is_encrypted) {
            Ok(method == Method::None)
        } else {
            Err(Broken::Method {
                method,
                in_the_open: self.allowed.allows(method, true),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn asked(code: u32, more: &[u8]) -> Vec<u8> {
        let mut bytes = vec![b'R'];
        bytes.extend(u32::try_from(8 + more.len()).unwrap().to_be_bytes());
        bytes.extend(code.to_be_bytes());
        bytes.extend(more);
        bytes
    }

    fn notice() -> Vec<u8> {
        [&b"N\0\0\0\x0a"[..], b"R\0\0\0\x08\0"].concat()
    }

    /// What becomes of what a server sends, cut into pieces.
    fn watched(require: Option<&str>, is_encrypted: bool, sent: &[u8], piece: usize) -> String {
        let allowed = require.map_or_else(Allowed::default, |text| Allowed::parse(text).unwrap());
        let mut watch = Watch::new(allowed, is_encrypted);
        for bytes in sent.chunks(piece) {
            match watch.see(bytes) {
                Ok(false) => {}
                Ok(true) => return "in".to_owned(),
                Err(broken) => return broken.to_string(),
            }
        }
        "waiting".to_owned()
    }

    #[test]
    fn require_auth_is_read_as_libpq_reads_it() {
        let only = |methods: &[Method]| Allowed {
            only: Some(methods.to_vec()),
            never: Vec::new(),
        };
        assert_eq!(Allowed::parse("md5"), Some(only(&[Method::Md5])));
        assert_eq!(
            Allowed::parse("none, scram-sha-256"),
            Some(only(&[Method::None, Method::Scram]))
        );
        assert_eq!(
            Allowed::parse("!password,!md5").unwrap().never,
            [Method::Password, Method::Md5]
        );
        for wrong in ["", "scram", "md5,!password", "!!md5", "md5,,password"] {
            assert_eq!(Allowed::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn password_is_sent_in_the_open_only_if_allowed() {
        for (require, is_encrypted, code, expected) in [
            (None, false, 3, "the server asks for password"),
            (None, false, 5, "the server asks for md5"),
            (None, false, 10, "waiting"),
            (None, false, 0, "in"),
            (None, true, 3, "waiting"),
            (None, true, 5, "waiting"),
            (Some("!gss"), false, 3, "the server asks for password"),
            (Some("md5"), false, 5, "waiting"),
            (Some("md5"), false, 3, "the server asks for password"),
            (Some("password"), false, 3, "waiting"),
            (
                Some("scram-sha-256"),
                true,
                3,
                "the server asks for password",
            ),
            (Some("scram-sha-256"), true, 0, "the server asks for none"),
            (Some("none"), false, 0, "in"),
            (Some("!none"), true, 0, "the server asks for none"),
        ] {
            let sent = asked(code, b"");
            let became = watched(require, is_encrypted, &sent, 4);
            assert_eq!(became, expected, "{require:?} {is_encrypted} {code}");
        }
    }

    proptest! {
        /// Whatever comes before, and however it is cut, the question is seen before its last byte is handed on.
        #[test]
        fn no_question_slips_through(notices in 0_usize..4, code in prop::sample::select(vec![3_u32, 5]), piece in 1_usize..40) {
            let mut sent: Vec<u8> = (0..notices).flat_map(|_| notice()).collect();
            sent.extend(asked(code, b"salt"));
            prop_assert!(watched(None, false, &sent, piece).starts_with("the server asks for "));
            prop_assert_eq!(watched(None, true, &sent, piece), "waiting");
        }

        /// What is made of any bytes does not depend on how they are cut.
        #[test]
        fn any_bytes_are_watched(bytes: Vec<u8>, piece in 1_usize..40) {
            let whole = watched(None, false, &bytes, bytes.len().max(1));
            prop_assert_eq!(watched(None, false, &bytes, piece), whole);
        }
    }
}

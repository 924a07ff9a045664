// SPDX-License-Identifier: GPL-2.0-or-later
//! Captures of what crosses a port, as pcap files.

use std::fs::File;
use std::io::{self, BufWriter};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{LinkAddr, recvfrom};
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use pcap_file::{DataLink, TsResolution};
use socket2::{Domain, Protocol, Socket, Type};

use crate::lab::{LabError, Namespace};
use crate::limits::{CAPTURE_BUFFER, FRAME, POLL};

/// A capture that runs until it is stopped or dropped.
#[derive(Debug)]
pub struct Capture {
    path: PathBuf,
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<u64>>>,
}

impl Capture {
    /// Starts to write what goes in and out by `port` to a file.
    ///
    /// # Errors
    /// When the packet socket is refused or the file cannot be written.
    pub fn start(namespace: &Namespace, port: &str, path: &Path) -> Result<Self, LabError> {
        let failed = |cause| LabError::failed(namespace.name(), format!("capture to {}", path.display()), cause);
        let name = port.to_owned();
        let (socket, index) = namespace.run(move || open(&name))?.map_err(failed)?;
        let writer = file(path).map_err(failed)?;
        let done = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&done);
        let thread = std::thread::Builder::new()
            .name("capture".into())
            .spawn(move || record(&socket, index, writer, &flag))
            .map_err(failed)?;
        Ok(Self { path: path.into(), done, thread: Some(thread) })
    }

    /// Ends the capture; returns how many frames the file has.
    ///
    /// # Errors
    /// When the file could not be written.
    pub fn stop(mut self) -> io::Result<u64> {
        self.end()
    }

    /// Where it goes.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn end(&mut self) -> io::Result<u64> {
        self.done.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else { return Ok(0) };
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // Whoever wants to know whether it was written calls `stop`.
        let _ = self.end();
    }
}

/// A packet socket for every port of the namespace (to bind it to one has no safe form), and the index of the one wanted.
fn open(port: &str) -> io::Result<(Socket, usize)> {
    let index = if_nametoindex(port)? as usize;
    let every_protocol = i32::from(u16::try_from(libc::ETH_P_ALL).map_or(0, u16::to_be));
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(every_protocol)))?;
    socket.set_read_timeout(Some(POLL))?;
    // A smaller buffer than asked for is no reason to fail.
    let _ = socket.set_recv_buffer_size(CAPTURE_BUFFER);
    Ok((socket, index))
}

fn file(path: &Path) -> io::Result<PcapWriter<BufWriter<File>>> {
    let header = PcapHeader {
        datalink: DataLink::ETHERNET,
        ts_resolution: TsResolution::NanoSecond,
        snaplen: u32::try_from(FRAME).unwrap_or(u32::MAX),
        ..PcapHeader::default()
    };
    PcapWriter::with_header(BufWriter::new(File::create(path)?), header).map_err(io::Error::other)
}

fn record(
    socket: &Socket,
    index: usize,
    mut writer: PcapWriter<BufWriter<File>>,
    done: &AtomicBool,
) -> io::Result<u64> {
    let (mut frame, mut frames) = (vec![0; FRAME], 0);
    loop {
        match recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut frame) {
            Ok((length, Some(from))) if from.ifindex() == index => {
                let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
                let full = u32::try_from(length).unwrap_or(u32::MAX);
                writer.write_packet(&PcapPacket::new(time, full, &frame[..length])).map_err(io::Error::other)?;
                frames += 1;
            }
            Ok(_) | Err(Errno::EINTR) => {}
            // Only when nothing is waiting may a capture end, so that what was sent before is in the file.
            Err(Errno::EAGAIN) if done.load(Ordering::Relaxed) => break,
            Err(Errno::EAGAIN) => {}
            Err(Errno::ENETDOWN) => break,
            Err(errno) => return Err(errno.into()),
        }
    }
    writer.into_writer().into_inner().map_err(io::IntoInnerError::into_error)?.sync_data()?;
    Ok(frames)
}

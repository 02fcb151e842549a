//! A pseudo-terminal with a program in it, and somebody who looks at its screen.

use std::io::{Read as _, Write};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

use crate::Failure;
use crate::mode;

/// Columns and rows.
const SIZE: PtySize = PtySize {
    rows: 40,
    cols: 140,
    pixel_width: 0,
    pixel_height: 0,
};

/// The terminal.
pub(crate) struct Terminal {
    master: Box<dyn MasterPty + Send>,
    keyboard: Box<dyn Write + Send>,
    child: Box<dyn Child + Send + Sync>,
    shown: Arc<(Mutex<Shown>, Condvar)>,
    /// How the terminal was set before the program, as it prints.
    settings: String,
}

/// What came out of it so far.
struct Shown {
    parser: vt100::Parser,
    bytes: Vec<u8>,
    closed: bool,
}

impl Terminal {
    /// Runs a program in a terminal of its own.
    pub(crate) fn start(program: &Path, args: &[&str]) -> Result<Self, Failure> {
        // It would be looked for in the path, and begin in the user's home.
        let mut command = CommandBuilder::new(std::path::absolute(program)?);
        command.args(args);
        command.env("TERM", "xterm-256color");
        let pair = native_pty_system().openpty(SIZE)?;
        let settings = settings(&*pair.master);
        let child = pair.slave.spawn_command(command)?;
        drop(pair.slave);
        let reader = pair.master.try_clone_reader()?;
        let shown = Shown {
            parser: vt100::Parser::new(SIZE.rows, SIZE.cols, 0),
            bytes: Vec::new(),
            closed: false,
        };
        let shown = Arc::new((Mutex::new(shown), Condvar::new()));
        let written = Arc::clone(&shown);
        std::thread::spawn(move || read(reader, &written));
        Ok(Self {
            keyboard: pair.master.take_writer()?,
            master: pair.master,
            child,
            shown,
            settings,
        })
    }

    /// Types.
    pub(crate) fn press(&mut self, keys: &str) -> Result<(), Failure> {
        self.keyboard.write_all(keys.as_bytes())?;
        Ok(self.keyboard.flush()?)
    }

    /// The screen of now.
    pub(crate) fn screen(&self) -> String {
        let shown = self.shown.0.lock().expect("no holder panics");
        shown.parser.screen().contents()
    }

    /// Waits for something on the screen; returns what it gave, and how long it took.
    pub(crate) fn wait_for<T>(
        &self,
        what: &str,
        within: Duration,
        there: impl Fn(&str) -> Option<T>,
    ) -> Result<(T, Duration), Failure> {
        let began = Instant::now();
        tokio::task::block_in_place(|| {
            let mut shown = self.shown.0.lock().expect("no holder panics");
            loop {
                let screen = shown.parser.screen().contents();
                if let Some(found) = there(&screen) {
                    return Ok((found, began.elapsed()));
                }
                let left = within.saturating_sub(began.elapsed());
                if left.is_zero() || shown.closed {
                    return Err(format!("no {what} on\n{screen}").into());
                }
                shown = (self.shown.1.wait_timeout(shown, left))
                    .expect("no holder panics")
                    .0;
            }
        })
    }

    /// How long it takes from a key to a screen with this text, which must not be there before.
    pub(crate) fn latency(&mut self, key: &str, text: &str) -> Result<Duration, Failure> {
        let there = |screen: &str| screen.contains(text).then_some(());
        if there(&self.screen()).is_some() {
            return Err(format!("{text:?} is there before {key:?}").into());
        }
        let began = Instant::now();
        self.press(key)?;
        self.wait_for(text, Duration::from_secs(10), there)?;
        Ok(began.elapsed())
    }

    /// Sends the program a signal.
    pub(crate) async fn signal(&self, signal: &str) -> Result<(), Failure> {
        let pid = self.child.process_id().ok_or("the program has ended")?;
        mode::send(signal, pid).await
    }

    /// Waits for the end of the program, and of what it wrote; says its exit code.
    pub(crate) fn end(&mut self, within: Duration) -> Result<u32, Failure> {
        tokio::task::block_in_place(|| {
            let shown = self.shown.0.lock().expect("no holder panics");
            let waited = (self.shown.1)
                .wait_timeout_while(shown, within, |shown| !shown.closed)
                .expect("no holder panics");
            if waited.1.timed_out() {
                return Err("the program does not end".into());
            }
            drop(waited);
            Ok(self.child.wait()?.exit_code())
        })
    }

    /// What of the terminal is not as it was before the program; nothing where it is.
    pub(crate) fn left_behind(&self) -> Vec<&'static str> {
        let shown = self.shown.0.lock().expect("no holder panics");
        let screen = shown.parser.screen();
        let text = String::from_utf8_lossy(&shown.bytes);
        let count = |sequence: &str| text.matches(sequence).count();
        let after = text.rfind("\u{1b}[?1049l").map(|at| &text[at..]);
        let mouse = screen.mouse_protocol_mode() != vt100::MouseProtocolMode::None;
        let broken = [
            (
                settings(&*self.master) != self.settings,
                "echo and line mode",
            ),
            (screen.alternate_screen(), "the alternate screen"),
            (count("\u{1b}[?1049l") != 1, "left once"),
            (screen.hide_cursor(), "the cursor"),
            (screen.bracketed_paste(), "paste"),
            (mouse, "the mouse"),
            (
                after.is_none_or(|after| after.contains("\u{1b}[?25l")),
                "nothing drawn afterwards",
            ),
        ];
        let broken = broken.into_iter().filter(|(broken, _)| *broken);
        broken.map(|(_, what)| what).collect()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A case that failed leaves nothing running; one that passed has nothing left to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(mut reader: Box<dyn std::io::Read + Send>, written: &(Mutex<Shown>, Condvar)) {
    let mut piece = [0; 8_192];
    loop {
        // At the end Linux says EIO, others say 0 bytes.
        let read = reader.read(&mut piece).unwrap_or(0);
        let mut shown = written.0.lock().expect("no holder panics");
        shown.parser.process(&piece[..read]);
        shown.bytes.extend_from_slice(&piece[..read]);
        shown.closed = read == 0;
        written.1.notify_all();
        if read == 0 {
            return;
        }
    }
}

/// Echo, line mode and the like, which raw mode takes away.
fn settings(master: &dyn MasterPty) -> String {
    format!("{:?}", master.get_termios())
}

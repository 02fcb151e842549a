//! A pseudo-terminal with a program in it, and somebody who looks at its screen.

use std::io::{Read, Write};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

/// Longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The terminal.
pub(crate) struct Pty {
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

impl Pty {
    /// Runs a program in a terminal of this many columns and rows.
    pub(crate) fn start(command: CommandBuilder, (columns, rows): (u16, u16)) -> Self {
        let pair = native_pty_system().openpty(size((columns, rows))).unwrap();
        let settings = settings(&*pair.master);
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let mut reader = pair.master.try_clone_reader().unwrap();
        let shown = Arc::new((
            Mutex::new(Shown {
                parser: vt100::Parser::new(rows, columns, 0),
                bytes: Vec::new(),
                closed: false,
            }),
            Condvar::new(),
        ));
        let written = Arc::clone(&shown);
        std::thread::spawn(move || {
            let mut piece = [0; 8_192];
            loop {
                // At the end Linux says EIO, others say 0 bytes.
                let read = reader.read(&mut piece).unwrap_or(0);
                let mut shown = written.0.lock().unwrap();
                shown.parser.process(&piece[..read]);
                shown.bytes.extend_from_slice(&piece[..read]);
                shown.closed = read == 0;
                written.1.notify_all();
                if read == 0 {
                    return;
                }
            }
        });
        Self {
            keyboard: pair.master.take_writer().unwrap(),
            master: pair.master,
            child,
            shown,
            settings,
        }
    }

    /// Types.
    pub(crate) fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
        self.keyboard.flush().unwrap();
    }

    /// How long it takes from a key to a screen with this text, which must not be there before.
    pub(crate) fn latency(&mut self, key: &str, text: &str) -> Duration {
        assert!(
            !self.screen().contents().contains(text),
            "{text:?} is there"
        );
        let began = Instant::now();
        self.press(key);
        self.wait_for(text);
        began.elapsed()
    }

    pub(crate) fn resize(&mut self, to: (u16, u16)) {
        self.shown
            .0
            .lock()
            .unwrap()
            .parser
            .screen_mut()
            .set_size(to.1, to.0);
        self.master.resize(size(to)).unwrap();
    }

    /// The screen of now.
    pub(crate) fn screen(&self) -> vt100::Screen {
        self.shown.0.lock().unwrap().parser.screen().clone()
    }

    #[track_caller]
    pub(crate) fn wait_for(&self, text: &str) {
        self.wait_until(text, |screen| screen.contents().contains(text));
    }

    #[track_caller]
    pub(crate) fn wait_until(&self, what: &str, there: impl Fn(&vt100::Screen) -> bool) {
        let shown = self.shown.0.lock().unwrap();
        let (shown, waited) = self
            .shown
            .1
            .wait_timeout_while(shown, PATIENCE, |shown| {
                !there(shown.parser.screen()) && !shown.closed
            })
            .unwrap();
        let screen = shown.parser.screen();
        let there = there(screen) && !waited.timed_out();
        assert!(there, "no {what:?} on\n{}", screen.contents());
    }

    /// Sends a signal to the program.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.process_id().unwrap().to_string();
        let sent = std::process::Command::new("kill")
            .args(["-s", name, &id])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// Waits for the end of the program, and of what it wrote; says its exit code.
    pub(crate) fn end(&mut self) -> u32 {
        let shown = self.shown.0.lock().unwrap();
        let waited = self
            .shown
            .1
            .wait_timeout_while(shown, PATIENCE, |shown| !shown.closed)
            .unwrap();
        let contents = waited.0.parser.screen().contents();
        assert!(!waited.1.timed_out(), "it goes on:\n{contents}");
        drop(waited);
        self.child.wait().unwrap().exit_code()
    }

    /// Everything is as before the program: screen, cursor, mouse, paste; and once, not twice.
    #[track_caller]
    pub(crate) fn assert_given_back(&self) {
        assert_eq!(
            settings(&*self.master),
            self.settings,
            "echo and lines are back"
        );
        let shown = self.shown.0.lock().unwrap();
        let screen = shown.parser.screen();
        assert!(!screen.alternate_screen(), "the alternate screen is left");
        assert!(!screen.hide_cursor(), "the cursor is shown");
        assert!(!screen.bracketed_paste(), "paste is as before");
        assert_eq!(screen.mouse_protocol_mode(), vt100::MouseProtocolMode::None);
        let text = String::from_utf8_lossy(&shown.bytes);
        assert_eq!(text.matches("\u{1b}[?1049h").count(), 1, "taken once");
        assert_eq!(text.matches("\u{1b}[?1049l").count(), 1, "given back once");
        let last = text.rfind("\u{1b}[?1049l").unwrap();
        let after = &text[last..];
        assert!(
            !after.contains("\u{1b}[?25l"),
            "nothing is drawn afterwards"
        );
    }

    /// Processor time of the program so far, in ticks of the kernel.
    #[cfg(target_os = "linux")]
    pub(crate) fn cpu_ticks(&self) -> u32 {
        let id = self.child.process_id().unwrap();
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
        // The name in parentheses may hold blanks; the fields after it are counted from 3.
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        let number = |at: usize| fields[at - 3].parse::<u32>().unwrap();
        number(14) + number(15)
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        // A test that failed leaves nothing running; one that passed has nothing left to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Echo, line mode and the like, which raw mode takes away.
fn settings(master: &dyn MasterPty) -> String {
    format!("{:?}", master.get_termios().unwrap())
}

const fn size((columns, rows): (u16, u16)) -> PtySize {
    PtySize {
        rows,
        cols: columns,
        pixel_width: 0,
        pixel_height: 0,
    }
}

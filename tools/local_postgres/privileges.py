"""Under which identity the PostgreSQL programs run: they refuse to run as root."""

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tools.local_postgres.binaries import Binaries

# `nobody`: initdb wants an identity that has a passwd entry.
_NAMESPACE_OPTIONS = ("--user", "--map-user=65534", "--map-group=65534")
_ACCOUNTS = ("postgres", "nobody")
_PROBE_TIMEOUT_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1


class NoUsableIdentityError(RuntimeError):
    """PostgreSQL cannot be run here under any identity; the message says what is missing."""


@dataclass(frozen=True)
class Privileges:
    """How PostgreSQL programs are run here.

    Args:
        prefix: a command that runs the command after it in a user namespace; empty for none.
        account: the account to change to; None keeps the current one.

    """

    prefix: tuple[str, ...] = ()
    account: str | None = None

    def spawn(
        self, command: Sequence[str], output: int | IO[bytes], environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a program that ends when this process ends, however it ends (Linux; elsewhere it may outlive it).

        The kernel takes the end of the thread that called this for the end of the process.

        Args:
            command: the program, by its absolute path, and its arguments.
            output: where stdout and stderr go, as `subprocess` takes it.
            environment: variables on top of this process's own. Unlike arguments, other accounts cannot read them.

        Raises:
            OSError: the program cannot be executed under this identity.

        """
        return subprocess.Popen(  # noqa: S603 - the command is ours
            [*self.prefix, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            # An inherited locale may be one this machine does not have, which initdb refuses; and messages are read.
            env={**os.environ, "LC_ALL": "C", **(environment or {})},
            user=self.account,
            group=None if self.account is None else pwd.getpwnam(self.account).pw_gid,
            extra_groups=None if self.account is None else [],
            # Ctrl-C is sent to the whole foreground group; the owner decides when the server stops.
            start_new_session=True,
            preexec_fn=_end_with_owner(),  # noqa: PLW1509 - it makes two system calls and takes no lock
        )

    def executable(self, binaries: Binaries, scratch: Path) -> Binaries:
        """Give programs that this identity can execute, copied if it cannot reach the originals.

        Args:
            binaries: the programs.
            scratch: a directory for the copy.

        Raises:
            NoUsableIdentityError: the programs are out of reach and have to stay where they are.

        """
        if self.account is None:
            return binaries
        # The directory is private to its creator; the account has to pass through it.
        scratch.chmod(0o711)
        if self._can_execute(binaries):
            return binaries
        if not binaries.movable_trees:
            raise NoUsableIdentityError(
                f"PostgreSQL does not run as root, and the account {self.account!r} cannot execute the programs in "
                f"{binaries.directory}. Run as another user, or set PG_BINDIR to a directory everybody can read."
            )
        copy = scratch / "binaries"
        copy.mkdir(mode=0o755)
        return binaries.copy_to(copy)

    def hand_over(self, path: Path) -> None:
        """Make a directory or a file belong to the identity.

        Args:
            path: an existing directory or file.

        """
        if self.account is not None:
            entry = pwd.getpwnam(self.account)
            os.chown(path, entry.pw_uid, entry.pw_gid)

    def _can_execute(self, binaries: Binaries) -> bool:
        try:
            with self.spawn([str(binaries.directory / "postgres"), "--version"], subprocess.DEVNULL) as process:
                return process.wait() == 0
        except OSError:
            return False


def current_privileges() -> Privileges:
    """Find out how PostgreSQL programs can be run by this process.

    Raises:
        NoUsableIdentityError: there is no way.

    """
    euid = os.geteuid()
    named = _has_name(euid)
    return choose_privileges(
        euid=euid,
        named=named,
        namespace=_namespace_prefix() if euid == 0 or not named else None,
        accounts=[account for account in _ACCOUNTS if _exists(account)],
    )


def choose_privileges(
    *, euid: int, named: bool, namespace: tuple[str, ...] | None, accounts: Sequence[str]
) -> Privileges:
    """Decide, from facts alone, how PostgreSQL programs are run.

    Args:
        euid: the effective user id of this process.
        named: whether that id has a passwd entry.
        namespace: the command that runs another one in a user namespace; None if that is refused here.
        accounts: unprivileged accounts that exist, best first.

    Raises:
        NoUsableIdentityError: none of the ways is open.

    """
    if euid != 0 and named:
        return Privileges()
    # First choice for root: files stay root's, so nothing has to be readable for another account.
    if namespace is not None:
        return Privileges(prefix=namespace)
    if euid == 0 and accounts:
        return Privileges(account=accounts[0])
    problem = "PostgreSQL does not run as root" if euid == 0 else f"initdb wants a passwd entry for user id {euid}"
    missing = f" and there is no account {' or '.join(_ACCOUNTS)}" if euid == 0 else ""
    raise NoUsableIdentityError(
        f"{problem}; user namespaces (`unshare --user`) are refused here{missing}. "
        "Run as an ordinary user, or set DATABASE_URL to a running server."
    )


def _namespace_prefix() -> tuple[str, ...] | None:
    unshare = shutil.which("unshare")
    if unshare is None:
        return None
    prefix = (unshare, *_NAMESPACE_OPTIONS)
    try:
        probe = subprocess.run(  # noqa: S603 - the command is ours
            [*prefix, unshare, "--version"], capture_output=True, timeout=_PROBE_TIMEOUT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return prefix if probe.returncode == 0 else None


def _end_with_owner() -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    owner = os.getpid()

    def in_child() -> None:
        # SIGQUIT is PostgreSQL's immediate shutdown: its children go with it, the data is thrown away anyway. A shell
        # script's background jobs have it ignored.
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)
        prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)
        if os.getppid() != owner:  # the owner died before the kernel knew our wish
            os._exit(1)

    return in_child


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _exists(account: str) -> bool:
    try:
        pwd.getpwnam(account)
    except KeyError:
        return False
    return True

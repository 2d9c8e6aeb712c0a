// The one WebSocket: opens it, notices when it is dead, opens it again.

const SILENT_MS = 4000; // the meters alone make more noise than this
const RETRY_MS = [200, 400, 800, 1500, 2500];

export function openLink({ onText, onColumns, onState }) {
  let socket = null;
  let tries = 0;
  let heard = 0;
  let timer = 0;

  function open() {
    clearTimeout(timer);
    socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ui/socket`);
    socket.binaryType = "arraybuffer";
    const own = socket;
    heard = performance.now();
    own.onmessage = ({ data }) => {
      if (own !== socket) return;
      heard = performance.now();
      if (typeof data !== "string") return onColumns(new Uint8Array(data));
      tries = 0;
      onText(JSON.parse(data));
    };
    own.onopen = () => own === socket && onState("on");
    own.onclose = () => own === socket && lost();
  }

  function lost() {
    socket = null;
    onState("off");
    clearTimeout(timer);
    timer = setTimeout(open, RETRY_MS[Math.min(tries++, RETRY_MS.length - 1)]);
  }

  function drop() {
    const dead = socket;
    lost();
    dead?.close();
  }

  // A phone that was asleep, or a network that has gone without a word.
  setInterval(() => {
    if (socket?.readyState === WebSocket.OPEN && performance.now() - heard > SILENT_MS) drop();
  }, 1000);
  const hurry = () => { if (!document.hidden && !socket) { tries = 0; open(); } };
  document.addEventListener("visibilitychange", hurry);
  addEventListener("online", hurry);
  open();

  return (message) => {
    if (socket?.readyState !== WebSocket.OPEN) return false;
    socket.send(JSON.stringify(message));
    return true;
  };
}

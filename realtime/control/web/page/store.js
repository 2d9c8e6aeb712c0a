// What the instrument's values are. The server has the last word, but not while a finger is on the control.

const HOLD_MS = 600;
const FLUSH_MS = 25;

export const values = new Map();
const truth = new Map(); // what the server said last
const held = new Map(); // name -> until when pushes wait
const watchers = new Map();
const wanted = new Map();
let send = () => false;
let timer = 0;

export const connectTo = (sender) => { send = sender; };

// Call act(value) now, if the value is known, and whenever it changes.
export function watch(name, act) {
  if (!watchers.has(name)) watchers.set(name, new Set());
  watchers.get(name).add(act);
  if (values.has(name)) act(values.get(name));
}

export const forgetWatchers = () => watchers.clear();

function apply(name, value) {
  values.set(name, value);
  for (const act of watchers.get(name) ?? []) act(value);
}

export function receive(changes) {
  const now = performance.now();
  for (const [name, value] of Object.entries(changes)) {
    truth.set(name, value);
    if (!(held.get(name) > now)) apply(name, value);
  }
}

// The performer moves something: shown at once, sent soon, at most 40 times a second.
export function change(name, value) {
  held.set(name, performance.now() + HOLD_MS);
  apply(name, value);
  wanted.delete(name); // the order of the wishes is kept
  wanted.set(name, value);
  if (!timer) timer = setTimeout(flush, FLUSH_MS);
}

function flush() {
  timer = 0;
  if (wanted.size) send({ set: Object.fromEntries(wanted) });
  wanted.clear();
}

// An event or an action: nothing to show, nothing to wait for.
export function fire(name, value = null) {
  flush();
  send({ set: { [name]: value } });
}

export const midi = (verb, argument) => send({ midi: { [verb]: argument } });

// When the finger has gone, what the server said counts again.
setInterval(() => {
  const now = performance.now();
  for (const [name, until] of held) {
    if (until > now) continue;
    held.delete(name);
    if (truth.has(name) && truth.get(name) !== values.get(name)) apply(name, truth.get(name));
  }
}, 100);

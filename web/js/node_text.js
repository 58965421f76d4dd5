// Shows what our nodes have to say (the index report, the hits, what a file tells) on the node itself.
import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";

const WIDGET = "diffusion_toolkit_text";
const LINE = 14; // height of a line of text on a node, in canvas units
const MOST_LINES = 12; // longer texts scroll
const NARROWEST = 210; // a new node; one without widgets would be as narrow as its links' names, and its title be cut
const MARGINS = 20; // above and below a text, which a node on the canvas takes from its height

function addTextArea(node) {
  const area = document.createElement("textarea");
  area.className = "comfy-multiline-input"; // ComfyUI's look of a text
  area.readOnly = true;
  area.style.opacity = 0.75;
  area.dataset.captureWheel = "true"; // a node of HTML leaves the wheel to it once it was clicked
  area.addEventListener("wheel", (event) => {
    event.stopPropagation();
    if (!event.ctrlKey && area.scrollHeight > area.clientHeight) return;
    event.preventDefault();
    app.canvas.processMouseWheel(event);
  });
  const pans = { pointerdown: "processMouseDown", pointermove: "processMouseMove", pointerup: "processMouseUp" };
  for (const [kind, handle] of Object.entries(pans)) {
    area.addEventListener(kind, (event) => (event.button === 1 || event.buttons === 4) && app.canvas[handle](event));
  }
  const height = () => LINE * (1 + Math.min(MOST_LINES, area.value.split("\n").length * 1.5));
  // Of a type of our own: a node of HTML then takes the area as it is. In place of a known one it puts its own, of four lines, with the widget's name, to write in.
  const widget = node.addDOMWidget(WIDGET, WIDGET, area, {
    getValue: () => area.value,
    setValue: (text) => {
      area.value = text;
      area.style.minHeight = `${height() - MARGINS}px`; // what a node of HTML goes by; one on the canvas asks
    },
    getMinHeight: height,
    hideInPanel: true, // it is nothing to set
    serialize: false,
  });
  widget.serialize = false; // the text belongs to a run, not to the workflow file
  return widget;
}

function showText(node, text) {
  const widget = node.widgets?.find((candidate) => candidate.name === WIDGET) ?? addTextArea(node);
  widget.value = text;
  const wanted = node.computeSize();
  node.setSize([Math.max(node.size[0], wanted[0]), Math.max(node.size[1], wanted[1])]);
  app.graph.setDirtyCanvas(true, true);
}

function* nodesOf(graph) {
  for (const node of graph?.nodes ?? []) {
    yield node;
    if (node.subgraph) yield* nodesOf(node.subgraph);
  }
}

// A watch's run is ComfyUI's own, of no open workflow: its news is for each Index Folder that is set to what it watches.
function showWatch({ detail: { text, ...place } }) {
  for (const node of nodesOf(app.rootGraph ?? app.graph)) {
    const value = (name) => node.widgets?.find((widget) => widget.name === name)?.value;
    if (node.comfyClass !== "DiffusionToolkitIndexFolder" || !value("watch")) continue;
    if (!Object.keys(place).every((name) => value(name) === place[name])) continue;
    showText(node, text);
    const line = node.widgets.find((widget) => widget.name === "$$node-text-preview"); // ComfyUI's own, which would go on telling of the run before
    if (line) line.value = text.split("\n")[0];
  }
}

app.registerExtension({
  name: "DiffusionToolkit.NodeText",
  setup: () => api.addEventListener("diffusion_toolkit.watch", showWatch),
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (!nodeData.name.startsWith("DiffusionToolkit")) return;
    const created = nodeType.prototype.onNodeCreated;
    nodeType.prototype.onNodeCreated = function () {
      created?.apply(this, arguments);
      this.setSize([Math.max(this.size[0], NARROWEST), this.size[1]]);
    };
    const before = nodeType.prototype.onExecuted;
    nodeType.prototype.onExecuted = function (output) {
      before?.apply(this, arguments);
      if (output?.text) showText(this, output.text.join("\n\n"));
    };
  },
});

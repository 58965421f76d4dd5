// Save Image with Prompt takes what Save Image takes in a file's name: %date:yyyy-MM-dd%, %Empty Latent Image.width%. The page puts
// the values there, for a list of classes that is its own.
import { app } from "../../../scripts/app.js";

app.registerExtension({
  name: "DiffusionToolkit.SaveImage",
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (nodeData.name !== "DiffusionToolkitSaveImage") return;
    const before = nodeType.prototype.onNodeCreated;
    nodeType.prototype.onNodeCreated = function () {
      before?.apply(this, arguments);
      const replaced = window.comfyAPI?.utils?.applyTextReplacements; // its module would warn of itself in the console
      const widget = this.widgets?.find((candidate) => candidate.name === "filename_prefix");
      if (replaced && widget) widget.serializeValue = () => replaced(app.rootGraph ?? app.graph, widget.value);
    };
  },
});

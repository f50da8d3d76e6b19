package org.distilltophone.core;

import com.eclipsesource.json.Json;
import com.eclipsesource.json.JsonArray;
import com.eclipsesource.json.JsonObject;

/** The model that a gallery was made with. Embeddings of another one mean nothing beside them. */
public final class GalleryModel {
    public final String name;
    /** For example "tflite-int8". */
    public final String variant;
    /** Of the model file, hex digits. */
    public final String sha256;
    /** Stands for weights, network and preprocessing together: variants of one bundle share it. */
    public final String sourceId;
    /** The teacher in whose space it embeds; null: in its own. */
    public final String space;
    public final Preprocessing preprocessing;

    GalleryModel(String name, String variant, String sha256, String sourceId, String space, Preprocessing preprocessing) {
        this.name = name;
        this.variant = variant;
        this.sha256 = sha256;
        this.sourceId = sourceId;
        this.space = space;
        this.preprocessing = preprocessing;
    }

    /** The bundle's variant in use. */
    public static GalleryModel of(Bundle bundle) {
        Variant variant = bundle.variant();
        return new GalleryModel(bundle.name(), variant.name, variant.sha256, bundle.sourceId(), bundle.space(),
            bundle.preprocessing());
    }

    static GalleryModel read(Fields fields) throws BadFileException {
        return new GalleryModel(fields.text("name", 200), fields.text("variant", 64), fields.sha256("sha256"),
            fields.text("source_id", 200), fields.textOrNull("space", 200),
            Manifest.preprocessing(fields.child("preprocessing")));
    }

    JsonObject json() {
        JsonArray mean = new JsonArray();
        JsonArray std = new JsonArray();
        for (int c = 0; c < 3; c++) {
            mean.add(preprocessing.mean[c]);
            std.add(preprocessing.std[c]);
        }
        JsonObject pixels = new JsonObject().add("input_size", preprocessing.inputSize)
            .add("resize_size", preprocessing.resizeSize).add("resize_rule", "pillow_bilinear").add("crop", "center")
            .add("colour_order", "RGB").add("mean", mean).add("std", std);
        return new JsonObject().add("name", name).add("variant", variant).add("sha256", sha256)
            .add("source_id", sourceId).add("space", space == null ? Json.NULL : Json.value(space))
            .add("preprocessing", pixels);
    }
}

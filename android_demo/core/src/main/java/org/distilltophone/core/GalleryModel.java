package org.distilltophone.core;

/** The model that embedded a gallery. Embeddings of another model cannot be compared with it. */
public final class GalleryModel {
    public final String name;
    /** For example "tflite-int8". */
    public final String variant;
    /** SHA-256 of the model file, hex digits. */
    public final String sha256;

    private GalleryModel(String name, String variant, String sha256) {
        this.name = name;
        this.variant = variant;
        this.sha256 = sha256;
    }

    /** Reads the facts used here, and checks the others. */
    static GalleryModel read(Fields fields) throws BadFileException {
        fields.text("source_id", 200);
        fields.textOrNull("space", 200);
        Manifest.preprocessing(fields.child("preprocessing"));
        return new GalleryModel(fields.text("name", 200), fields.text("variant", 64), fields.sha256("sha256"));
    }
}

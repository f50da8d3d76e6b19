package org.distilltophone.core;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;

/** A validated bundle and the variant in use (docs/bundle.md). */
public final class Bundle {
    private static final int MAX_MANIFEST_BYTES = 64 << 20;
    private static final String CURE = "export it again, or copy the whole folder again";

    private final BundleSource source;
    private final Manifest manifest;
    private final Variant variant;

    private Bundle(BundleSource source, Manifest manifest, Variant variant) {
        this.source = source;
        this.manifest = manifest;
        this.variant = variant;
    }

    /**
     * Reads the description and chooses a variant. The content of a file is checked when it is read, so an app may contain
     * only the files that it uses; {@link #checkAllFiles} checks them all.
     *
     * @param variantOrNull name of the variant; null: "tflite-int8", or else the first TFLite variant with int8 input, or
     *     else the first TFLite variant
     * @throws BadFileException the bundle is missing, damaged, inconsistent or of another schema version, or has no such
     *     variant
     */
    public static Bundle open(BundleSource source, String variantOrNull) throws IOException {
        ByteBuffer text = source.read("bundle.json");
        if (text.remaining() > MAX_MANIFEST_BYTES) {
            throw new BadFileException("bundle.json: " + text.remaining() + " bytes are too many for a description", CURE);
        }
        Manifest manifest = new Manifest(Fields.parse(text, "bundle.json", CURE));
        return new Bundle(source, manifest, choose(manifest, variantOrNull));
    }

    private static Variant choose(Manifest manifest, String wanted) throws BadFileException {
        Variant best = null;
        List<String> names = new ArrayList<String>();
        for (Variant one : manifest.variants) {
            names.add(one.name);
            if (one.name.equals(wanted == null ? "tflite-int8" : wanted)) {
                return one;
            }
            boolean betterType = best != null && best.input.isFloat() && one.input.dtype.equals("int8");
            if (one.format.equals("tflite") && (best == null || betterType)) {
                best = one;
            }
        }
        if (wanted == null && best != null) {
            return best;
        }
        throw new BadFileException("bundle.json: no variant " + (wanted == null ? "for TFLite" : "'" + wanted + "'"),
            "it has " + names);
    }

    /** Returns the display name. */
    public String name() {
        return manifest.name;
    }

    public Preprocessing preprocessing() {
        return manifest.preprocessing;
    }

    /** Returns D, the length of an embedding. */
    public int dimension() {
        return manifest.dimension;
    }

    /** Returns the variant in use. */
    public Variant variant() {
        return variant;
    }

    /**
     * Returns the origin of the bundle as flat facts: "created", "tool", "source.arch", "source.id", "licence.model", …
     * Lists are left out.
     */
    public Map<String, String> provenance() {
        return Collections.unmodifiableMap(manifest.provenance);
    }

    /** Returns the checked content of the variant's model file: a direct or mapped buffer if the source provides one. */
    public ByteBuffer model() throws IOException {
        return read(variant.file);
    }

    /**
     * Reads a file that the bundle lists, and checks its size and SHA-256.
     *
     * @return little-endian
     */
    public ByteBuffer read(String name) throws IOException {
        Manifest.Listed listed = manifest.files.get(name);
        if (listed == null) {
            throw new BadFileException(name + ": not in bundle.json", CURE);
        }
        ByteBuffer content = source.read(name);
        if (content.remaining() != listed.bytes) {
            throw new BadFileException(name + ": " + content.remaining() + " bytes instead of " + listed.bytes, CURE);
        }
        if (!Sha256.of(content).equals(listed.sha256)) {
            throw new BadFileException(name + ": its content changed since the export (SHA-256 differs)", CURE);
        }
        return content.order(ByteOrder.LITTLE_ENDIAN);
    }

    /** Reads and checks every file that the bundle lists. */
    public void checkAllFiles() throws IOException {
        for (String name : manifest.files.keySet()) {
            read(name);
        }
    }

    /** Returns the golden images that the bundle also contains as files. */
    public List<GoldenFile> goldenFiles() {
        return Collections.unmodifiableList(manifest.goldenFiles);
    }

    /** Returns the golden images as pixels: RGB {@code [inputSize][inputSize][3]} each. */
    public byte[][] goldenPixels() throws IOException {
        ByteBuffer all = read(manifest.goldenPixels);
        int side = manifest.preprocessing.inputSize;
        byte[][] out = new byte[manifest.goldenCount][side * side * 3];
        for (byte[] one : out) {
            all.get(one);
        }
        return out;
    }

    /** Returns the embeddings of the golden images, computed with the variant in use when the bundle was exported. */
    public float[][] goldenEmbeddings() throws IOException {
        return rows(variant.goldenFile);
    }

    private float[][] rows(String file) throws IOException {
        ByteBuffer all = read(file);
        float[][] out = new float[manifest.goldenCount][manifest.dimension];
        for (float[] row : out) {
            for (int d = 0; d < row.length; d++) {
                row[d] = all.getFloat();
            }
        }
        return out;
    }
}

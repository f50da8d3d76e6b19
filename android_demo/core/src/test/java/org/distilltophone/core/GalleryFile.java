package org.distilltophone.core;

import com.eclipsesource.json.Json;
import com.eclipsesource.json.JsonArray;
import com.eclipsesource.json.JsonObject;
import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/** Builds int8 gallery files (docs/gallery.md) in memory. */
final class GalleryFile {
    private static final int HEADER_BYTES = 4096 - Gallery.START; // some 2,000 are used

    private final String modelSha256;
    private final int dimension;
    private final ByteArrayOutputStream rows = new ByteArrayOutputStream();
    private final ByteArrayOutputStream ids = new ByteArrayOutputStream();
    private final ByteArrayOutputStream idOffsets = new ByteArrayOutputStream();
    private final ByteArrayOutputStream thumbnails = new ByteArrayOutputStream();
    private final ByteArrayOutputStream thumbnailOffsets = new ByteArrayOutputStream();
    private int count;

    GalleryFile(String modelSha256, int dimension) {
        this.modelSha256 = modelSha256;
        this.dimension = dimension;
    }

    GalleryFile add(String id, byte[] row, byte[] jpegOrNull) {
        number(idOffsets, ids.size());
        number(thumbnailOffsets, thumbnails.size());
        rows.write(row, 0, row.length);
        byte[] name = id.getBytes(StandardCharsets.UTF_8);
        ids.write(name, 0, name.length);
        if (jpegOrNull != null) {
            thumbnails.write(jpegOrNull, 0, jpegOrNull.length);
        }
        count++;
        return this;
    }

    byte[] build() {
        number(idOffsets, ids.size());
        number(thumbnailOffsets, thumbnails.size());
        ByteArrayOutputStream content = new ByteArrayOutputStream();
        JsonObject sections = new JsonObject();
        section(sections, content, "embeddings", rows);
        section(sections, content, "ids", ids);
        section(sections, content, "id_offsets", idOffsets);
        if (thumbnails.size() > 0) {
            section(sections, content, "thumbnails", thumbnails);
            section(sections, content, "thumbnail_offsets", thumbnailOffsets);
        }
        JsonArray of128 = new JsonArray().add(128).add(128).add(128);
        JsonObject preprocessing = new JsonObject().add("input_size", 4).add("resize_size", 5)
            .add("resize_rule", "pillow_bilinear").add("crop", "center").add("colour_order", "RGB").add("mean", of128)
            .add("std", of128);
        JsonObject model = new JsonObject().add("name", "a model").add("variant", "tflite-int8").add("sha256", modelSha256)
            .add("source_id", "source").add("space", Json.NULL).add("preprocessing", preprocessing);
        JsonObject header = new JsonObject().add("schema_version", 1).add("count", count).add("dimension", dimension)
            .add("dtype", "int8").add("scale", Int8.SCALE).add("model", model).add("created", "2026").add("tool", "test")
            .add("thumbnail_side", Json.NULL).add("bundle", Json.NULL).add("sections", sections);
        byte[] text = header.toString().getBytes(StandardCharsets.UTF_8);
        byte[] padded = Arrays.copyOf(text, HEADER_BYTES);
        Arrays.fill(padded, text.length, HEADER_BYTES, (byte) ' ');
        ByteBuffer out = ByteBuffer.allocate(Gallery.START + HEADER_BYTES + content.size()).order(ByteOrder.LITTLE_ENDIAN);
        out.put(Gallery.MAGIC).putInt(Gallery.VERSION).putInt(HEADER_BYTES).put(padded).put(content.toByteArray());
        return out.array();
    }

    Gallery open() throws BadFileException {
        return Gallery.of(ByteBuffer.wrap(build()));
    }

    private static void section(JsonObject sections, ByteArrayOutputStream content, String name, ByteArrayOutputStream part) {
        byte[] bytes = part.toByteArray();
        content.write(new byte[Gallery.ALIGNMENT], 0, -content.size() & Gallery.ALIGNMENT - 1);
        sections.add(name, new JsonObject().add("offset", Gallery.START + HEADER_BYTES + content.size())
            .add("bytes", bytes.length).add("sha256", Sha256.of(bytes)));
        content.write(bytes, 0, bytes.length);
    }

    private static void number(ByteArrayOutputStream into, long value) {
        byte[] bytes = ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN).putLong(value).array();
        into.write(bytes, 0, bytes.length);
    }
}

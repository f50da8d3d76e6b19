package org.distilltophone.core;

import com.eclipsesource.json.Json;
import com.eclipsesource.json.JsonObject;
import com.eclipsesource.json.JsonValue;
import com.eclipsesource.json.ParseException;
import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/** A JSON object with checked access to its fields; errors name the file and the field. */
final class Fields {
    private static final String SHA256 = "[0-9a-f]{64}";

    private final JsonObject object;
    private final String where;
    private final String cure;

    private Fields(JsonObject object, String where, String cure) {
        this.object = object;
        this.where = where;
        this.cure = cure;
    }

    /** @param where name of the file in messages */
    static Fields parse(ByteBuffer utf8, String where, String cure) throws BadFileException {
        try {
            CharBuffer text = StandardCharsets.UTF_8.newDecoder().decode(utf8);
            JsonValue value = Json.parse(text.toString());
            if (value.isObject()) {
                return new Fields(value.asObject(), where, cure);
            }
            throw new BadFileException(where + ": not a JSON object", cure);
        } catch (CharacterCodingException error) {
            throw new BadFileException(where + ": not UTF-8 text", cure);
        } catch (ParseException error) {
            throw new BadFileException(where + ": not JSON: " + error.getMessage(), cure);
        }
    }

    JsonObject raw() {
        return object;
    }

    BadFileException bad(String what) {
        return new BadFileException(where + ": " + what, cure);
    }

    BadFileException badField(String name, String what) {
        return bad(name + ": " + what);
    }

    boolean has(String name) {
        JsonValue value = object.get(name);
        return value != null && !value.isNull();
    }

    private JsonValue get(String name) throws BadFileException {
        JsonValue value = object.get(name);
        if (value == null) {
            throw badField(name, "missing");
        }
        return value;
    }

    Fields child(String name) throws BadFileException {
        return object(get(name), name);
    }

    private Fields object(JsonValue value, String name) throws BadFileException {
        if (!value.isObject()) {
            throw badField(name, "not an object");
        }
        return new Fields(value.asObject(), where + ": " + name, cure);
    }

    Fields[] children(String name, int most) throws BadFileException {
        JsonValue[] values = array(name, most);
        Fields[] out = new Fields[values.length];
        for (int i = 0; i < out.length; i++) {
            out[i] = object(values[i], name + "[" + i + "]");
        }
        return out;
    }

    private JsonValue[] array(String name, int most) throws BadFileException {
        JsonValue value = get(name);
        if (!value.isArray() || value.asArray().size() > most) {
            throw badField(name, "not a list of at most " + most);
        }
        JsonValue[] out = new JsonValue[value.asArray().size()];
        for (int i = 0; i < out.length; i++) {
            out[i] = value.asArray().get(i);
        }
        return out;
    }

    String text(String name, int most) throws BadFileException {
        JsonValue value = get(name);
        if (!value.isString() || value.asString().length() > most) {
            throw badField(name, "not a string of at most " + most + " characters");
        }
        return value.asString();
    }

    /** Returns null if the field is missing or null. */
    String textOrNull(String name, int most) throws BadFileException {
        return has(name) ? text(name, most) : null;
    }

    String oneOf(String name, String... known) throws BadFileException {
        String value = text(name, 100);
        for (String one : known) {
            if (one.equals(value)) {
                return value;
            }
        }
        throw badField(name, "'" + value + "' is not one of " + Arrays.asList(known));
    }

    boolean flag(String name) throws BadFileException {
        JsonValue value = get(name);
        if (!value.isBoolean()) {
            throw badField(name, "neither true nor false");
        }
        return value.asBoolean();
    }

    long whole(String name, long low, long high) throws BadFileException {
        return whole(get(name), name, low, high);
    }

    private long whole(JsonValue value, String name, long low, long high) throws BadFileException {
        long found;
        try {
            found = value.asLong();
        } catch (UnsupportedOperationException | NumberFormatException error) {
            throw badField(name, "not a whole number");
        }
        if (found < low || found > high) {
            throw badField(name, found + " is outside " + low + " to " + high);
        }
        return found;
    }

    int[] wholes(String name, int count, int low, int high) throws BadFileException {
        JsonValue[] values = array(name, count);
        if (values.length != count) {
            throw badField(name, values.length + " values instead of " + count);
        }
        int[] out = new int[count];
        for (int i = 0; i < count; i++) {
            out[i] = (int) whole(values[i], name, low, high);
        }
        return out;
    }

    double number(String name) throws BadFileException {
        return number(get(name), name);
    }

    private double number(JsonValue value, String name) throws BadFileException {
        double found = value.isNumber() ? value.asDouble() : Double.NaN;
        if (Double.isNaN(found) || Double.isInfinite(found)) {
            throw badField(name, "not a finite number");
        }
        return found;
    }

    double[] numbers(String name, int count) throws BadFileException {
        JsonValue[] values = array(name, count);
        if (values.length != count) {
            throw badField(name, values.length + " values instead of " + count);
        }
        double[] out = new double[count];
        for (int i = 0; i < count; i++) {
            out[i] = number(values[i], name);
        }
        return out;
    }

    String sha256(String name) throws BadFileException {
        String value = text(name, 64);
        if (!value.matches(SHA256)) {
            throw badField(name, "not a SHA-256");
        }
        return value;
    }

    /** Returns {@code count} hashes; an empty array if the field is missing, null or an empty list. */
    String[] sha256s(String name, int count) throws BadFileException {
        JsonValue[] values = has(name) ? array(name, count) : new JsonValue[0];
        if (values.length != 0 && values.length != count) {
            throw badField(name, values.length + " values instead of " + count);
        }
        String[] out = new String[values.length];
        for (int i = 0; i < out.length; i++) {
            if (!values[i].isString() || !values[i].asString().matches(SHA256)) {
                throw badField(name + "[" + i + "]", "not a SHA-256");
            }
            out[i] = values[i].asString();
        }
        return out;
    }
}
